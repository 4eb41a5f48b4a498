//! The section on memory.

use crate::experiments::common::{
    Column, by_arm, extension_words, headline, lines, provenance, short_length, verdicts,
};
use crate::experiments::growth_table::{Curve, growth_table};
use crate::experiments::memory::{MODEL, Memory};
use crate::record::{Pool, Records};
use crate::render::chart::LineChart;
use crate::render::scale::Scale;
use crate::reported;
use crate::section::{Block, Figure, Picture, Section, Style};
use crate::spec::ArmSpec;

const MIB: f64 = (1 << 20) as f64;

fn style(quantity: &str) -> Style {
    match quantity {
        "share" => Style::Percent(1),
        _ => Style::Mebibytes,
    }
}

pub(super) fn section(experiment: &Memory, records: &Records) -> Section {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
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
        Block::Table(by_arm(title, note, arms, records, &columns))
    };
    let curve = Curve {
        title: "growth".to_owned(),
        predicted: false,
        levels: Box::new(|id| records.levels(id, Pool::Source(MODEL), "growth")),
    };
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: verdicts(spec, records, |bar| style(&bar.quantity)),
        headlines: vec![headline(
            "memory of a pass",
            &format!(
                "growth of the peak over the loaded model, as a share of dense, {longest} tokens"
            ),
            arms,
            records,
            &column(longest, "share"),
        )],
        blocks: vec![
            Block::Figure(figure(experiment, records)),
            table(
                "A pass without a cache: growth over the loaded model, by length",
                "MiB that the process held at its peak beyond what it held before the pass.",
                "growth",
            ),
            table(
                "A pass without a cache: growth beside dense",
                "The arm's growth as a share of that of `dense` in the same round.",
                "share",
            ),
            table(
                "A pass without a cache: peak of the process, by length",
                "MiB, the model and the program included.",
                "peak",
            ),
            Block::Table(growth_table(
                "A pass without a cache: how memory grows, and from where it is less",
                "growth",
                arms,
                &[curve],
                experiment.settings.fit_from,
                longest,
                records,
            )),
        ],
        comparisons: reported::compare(&experiment.claims, arms, records),
        provenance: provenance(spec, records),
    }
}

fn method(experiment: &Memory, records: &Records) -> Vec<String> {
    let settings = &experiment.settings;
    let limit = match settings.limit_mib {
        Some(mib) => format!("A process may have {mib} MiB of address space."),
        None => "Processes have no limit of their own.".to_owned(),
    };
    let mut paragraphs = vec![format!(
        "A *pass without a cache* gives the logits of the last token and keeps nothing for others: {} \
         for each cell, each in a fresh process, which loads the model, converts it, makes a pass of a \
         few tokens, and then the one over the sequence. What the \
         system counts as the most memory that the process held during it (VmHWM) is the peak. {limit}",
        match experiment.counts.processes {
            1 => "1 pass".to_owned(),
            count => format!("{count} passes"),
        },
    )];
    paragraphs.extend(extension_words(settings.extension, records));
    paragraphs
}

/// Growth of the peak by length, a line for each row.
pub(in crate::experiments) fn growth_chart(
    rows: &[ArmSpec],
    lengths: &[usize],
    records: &Records,
    source: &str,
) -> Picture {
    let mut greatest = 1.0;
    let series = lines(rows, |arm| {
        let points = lengths.iter().map(|&length| {
            let found = records.estimate(arm, Pool::Source(source), length, "growth");
            Some(((length as f64).log2(), found.ok()?.scaled(1.0 / MIB)))
        });
        points.flatten().collect()
    });
    for (_, estimate) in series.iter().flat_map(|one| &one.points) {
        greatest = f64::max(greatest, estimate.mean);
    }
    LineChart {
        label: "MiB by length, a line for each arm".to_owned(),
        title: "Growth over the loaded model, MiB".to_owned(),
        x_label: "tokens".to_owned(),
        x_ticks: lengths
            .iter()
            .map(|&length| ((length as f64).log2(), short_length(length)))
            .collect(),
        y: Scale::log(1.0, greatest),
        series,
    }
    .draw()
}

fn figure(experiment: &Memory, records: &Records) -> Figure {
    let arms = &experiment.spec.method.arms;
    let picture = growth_chart(arms, &experiment.settings.lengths, records, MODEL);
    Figure {
        id: "memory".to_owned(),
        title: "A pass without a cache: memory by length".to_owned(),
        note: "Means over processes; both axes are logarithmic.".to_owned(),
        pictures: vec![picture],
        columns: 1,
    }
}
