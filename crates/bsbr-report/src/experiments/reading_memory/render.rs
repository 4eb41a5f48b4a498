//! The section on the memory of reading.

use crate::experiments::common::{
    Column, by_arm, extension_words, headline, plural, provenance, verdicts,
};
use crate::experiments::growth_table::{Curve, growth_table};
use crate::experiments::memory::render::growth_chart;
use crate::experiments::reading_memory::{MODEL, ReadingMemory};
use crate::record::{Pool, Records};
use crate::reported;
use crate::section::{Block, Figure, Section, Style};

fn style(quantity: &str) -> Style {
    match quantity.contains(".by_") {
        true => Style::Fixed(3),
        false => Style::Mebibytes,
    }
}

pub(super) fn section(experiment: &ReadingMemory, records: &Records) -> Section {
    let spec = &experiment.spec;
    let rows = experiment.rows();
    let lengths = &experiment.settings.lengths;
    let longest = lengths.iter().copied().max().unwrap_or_default();
    let column = |length: usize, quantity: &str| Column {
        title: format!("{length} tokens"),
        from: Pool::Source(MODEL),
        length,
        quantity: quantity.to_owned(),
        style: style(quantity),
    };
    let table = |title: &str, note: &str, quantity: &str| {
        let columns: Vec<Column<'_>> = lengths.iter().map(|&n| column(n, quantity)).collect();
        Block::Table(by_arm(title, note, &rows, records, &columns))
    };
    let mut blocks = vec![table(
        "Reading: peak of the process, by length",
        "MiB, the model, the program and what is kept of the text included.",
        "peak",
    )];
    // Before there is a record, one table of dashes is enough.
    if records.first().is_some() {
        blocks.insert(0, Block::Figure(figure(experiment, records)));
        blocks.extend([
            table(
                "Reading: growth over the loaded model, by length",
                "MiB that the process held at its peak beyond what it held before it read.",
                "growth",
            ),
            table(
                "Reading: peak beside dense",
                "The row's peak divided by that of `dense` in the same round.",
                "peak.by_dense",
            ),
            table(
                "Reading: growth beside dense",
                "The row's growth divided by that of `dense` in the same round.",
                "growth.by_dense",
            ),
        ]);
        if experiment.with_torch() {
            blocks.push(table(
                "Reading: peak beside PyTorch",
                "The row's peak divided by that of PyTorch with SDPA in the same round.",
                "peak.by_torch",
            ));
            blocks.push(table(
                "Reading: growth beside PyTorch",
                "The row's growth divided by that of PyTorch with SDPA in the same round.",
                "growth.by_torch",
            ));
        }
        let curve = Curve {
            title: "growth".to_owned(),
            predicted: false,
            levels: Box::new(|id| records.levels(id, Pool::Source(MODEL), "growth")),
        };
        blocks.push(Block::Table(growth_table(
            "Reading: how memory grows, and from where it is less",
            "growth",
            &rows,
            &[curve],
            experiment.settings.fit_from,
            longest,
            records,
        )));
    }
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: verdicts(spec, records, |bar| style(&bar.quantity)),
        headlines: vec![headline(
            "memory of reading",
            &format!(
                "peak of a process that reads so that it can generate, by that of dense, {longest} \
                 tokens"
            ),
            &spec.method.arms,
            records,
            &column(longest, "peak.by_dense"),
        )],
        blocks,
        comparisons: reported::compare(&experiment.claims, &spec.method.arms, records),
        provenance: match records.first() {
            Some(_) => provenance(spec, records),
            None => vec![(
                "Records".to_owned(),
                "—, nothing is recorded yet".to_owned(),
            )],
        },
    }
}

fn method(experiment: &ReadingMemory, records: &Records) -> Vec<String> {
    let settings = &experiment.settings;
    let limit = match settings.limit_mib {
        Some(mib) => format!("A process of ours may have {mib} MiB of address space."),
        None => "Processes have no limit of their own.".to_owned(),
    };
    let mut paragraphs = vec![format!(
        "*Reading* is what comes before the first generated token: {} of a text for each cell, each in a \
         fresh process, which loads the model, converts it, reads a few tokens, and then the text of random \
         ids, keeping of it what generation needs, to the logits of the last token. It is read in \
         pieces of {} tokens, so that the activations of no more are held at once. What the system \
         counts as the most memory that the process held during it (VmHWM) is the peak. {limit}",
        plural(experiment.counts.processes, "reading"),
        settings.piece,
    )];
    paragraphs.push(match experiment.with_torch() {
        true => "PyTorch reads as `generate` of transformers does by default, with random weights of \
                 the same shape: in one piece, without gradients, fused attention, keys and values \
                 kept, logits of the last token alone. Python and its libraries are part of its peak."
            .to_owned(),
        false => "PyTorch was not asked for; `--baseline torch` measures it beside.".to_owned(),
    });
    paragraphs.extend(extension_words(settings.extension, records));
    paragraphs
}

fn figure(experiment: &ReadingMemory, records: &Records) -> Figure {
    let picture = growth_chart(
        &experiment.rows(),
        &experiment.settings.lengths,
        records,
        MODEL,
    );
    Figure {
        id: "reading".to_owned(),
        title: "Reading: memory by length".to_owned(),
        note: "Means over processes; both axes are logarithmic.".to_owned(),
        pictures: vec![picture],
        columns: 1,
    }
}
