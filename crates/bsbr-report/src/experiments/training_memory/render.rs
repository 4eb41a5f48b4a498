//! The section on the memory of training.

use crate::experiments::common::{
    Column, by_arm, extension_words, headline, plural, provenance, verdicts,
};
use crate::experiments::training_memory::{MODEL, TrainingMemory, WAYS};
use crate::record::{Pool, Records};
use crate::section::{Block, Section, Style};

fn style(quantity: &str) -> Style {
    match quantity.starts_with("seconds") {
        true => Style::Digits(3),
        false => Style::Mebibytes,
    }
}

pub(super) fn section(experiment: &TrainingMemory, records: &Records) -> Section {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
    let lengths = &experiment.settings.lengths;
    let longest = lengths.iter().copied().max().unwrap_or_default();
    let column = |length: usize, quantity: &str, (way, words, _): (&str, &str, bool)| {
        let quantity = format!("{quantity}.{way}");
        Column {
            title: format!("{length} tokens, {words}"),
            from: Pool::Source(MODEL),
            length,
            style: style(&quantity),
            quantity,
        }
    };
    let table = |title: &str, note: &str, quantity: &str| {
        let cells = lengths.iter().flat_map(|&length| {
            WAYS.into_iter()
                .map(move |way| column(length, quantity, way))
        });
        let columns: Vec<Column<'_>> = cells.collect();
        Block::Table(by_arm(title, note, arms, records, &columns))
    };
    let recomputed = column(longest, "peak", WAYS[1]);
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: verdicts(spec, records, |bar| style(&bar.quantity)),
        headlines: vec![headline(
            "memory of training",
            &format!(
                "MiB at the peak of a step on {longest} tokens, blocks recomputed, model and \
                 optimiser included"
            ),
            arms,
            records,
            &recomputed,
        )],
        blocks: vec![
            table(
                "Peak of the process",
                "MiB: weights, their gradients, the two means of AdamW and the program included.",
                "peak",
            ),
            table(
                "Growth over the loaded model and its optimiser",
                "MiB that the process held at its peak beyond what it held before the step.",
                "growth",
            ),
            table(
                "Time of a step",
                "Seconds: forward, backward and update. One step after a short one, so rough.",
                "seconds",
            ),
        ],
        comparisons: Vec::new(),
        provenance: provenance(spec, records),
    }
}

fn method(experiment: &TrainingMemory, records: &Records) -> Vec<String> {
    let settings = &experiment.settings;
    let limit = match settings.limit_mib {
        Some(mib) => format!("A process may have {mib} MiB of address space."),
        None => "Processes have no limit of their own.".to_owned(),
    };
    let mut paragraphs = vec![format!(
        "{} for each cell, each in a fresh process, which loads the model, converts it, makes a \
         step of training on a few tokens, after which the optimiser has its means, and then the \
         one that is measured: one window of random ids, the cross entropy of each next token, the \
         gradients of all weights, clipped by their norm, and an update by AdamW, in f32. What the \
         system counts as the most memory that the process held during it (VmHWM) is the peak. \
         {limit}",
        plural(experiment.counts.processes, "step"),
    )];
    paragraphs.push(
        "With activations kept, what the backward pass needs of every block is in memory at once. \
         With blocks recomputed, only their inputs are, and the backward pass computes each block \
         once more; the gradients are the same bit for bit."
            .to_owned(),
    );
    paragraphs.extend(extension_words(settings.extension, records));
    paragraphs
}
