//! The section on inference time.

use crate::experiments::common::{
    Column, dense_place, extension_words, headline, plural, provenance, verdicts,
};
use crate::experiments::growth_table::{Curve, growth_table};
use crate::experiments::speed::{ATTENTION, MODEL, Speed};
use crate::experiments::timed::{SPEEDUP, Timed};
use crate::record::{Pool, Records};
use crate::reported;
use crate::section::{Block, Figure, Section};
use crate::spec::ArmSpec;

/// Both things that are timed, in words.
const SCOPES: [(&str, &str); 2] = [(MODEL, "the whole model"), (ATTENTION, "attention alone")];

pub(super) fn section(experiment: &Speed, records: &Records) -> Section {
    let spec = &experiment.spec;
    let rows = experiment.rows();
    let longest = experiment.settings.lengths.iter().copied().max();
    let longest = longest.unwrap_or_default();
    let mut blocks = vec![Block::Figure(figure(experiment, records, &rows))];
    for (scope, words) in SCOPES {
        let timed = timed(experiment, records, &rows, scope);
        blocks.push(Block::Table(
            timed.times(format!("Time of {words}, by length")),
        ));
        blocks.push(Block::Table(
            timed.speedups(format!("Time of {words}: speed-up over dense")),
        ));
    }
    let curves = SCOPES.map(|(scope, words)| Curve {
        title: words.to_owned(),
        predicted: scope == ATTENTION,
        levels: Box::new(move |id| timed(experiment, records, &[], scope).levels(id)),
    });
    blocks.push(Block::Table(growth_table(
        "Time: growth and crossover",
        "time",
        &rows,
        &curves,
        experiment.settings.fit_from,
        longest,
        records,
    )));
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: verdicts(spec, records, |_| SPEEDUP),
        headlines: vec![headline(
            "speed-up",
            &format!("time of the dense model in the same round ÷ own, {longest} tokens"),
            &spec.method.arms,
            records,
            &Column {
                title: String::new(),
                from: Pool::Source(MODEL),
                length: longest,
                quantity: "speedup".to_owned(),
                style: SPEEDUP,
            },
        )],
        blocks,
        comparisons: reported::compare(&experiment.claims, &spec.method.arms, records),
        provenance: provenance(spec, records),
    }
}

fn method(experiment: &Speed, records: &Records) -> Vec<String> {
    let (settings, counts) = (&experiment.settings, &experiment.counts);
    let mut paragraphs = vec![format!(
        "{} of each row at each length, batch 1, after one that is not timed; of what takes longer \
         than {:.0} s, {}. The rows take turns in rounds, another goes first in each, and a speed-up \
         compares the two of one round. *{MODEL}* is a forward pass to the logits of the last \
         token, without a cache, on random ids; *{ATTENTION}* is one layer's attention from random \
         queries, keys and values to its output, building summaries included. `dense` is the \
         fastest exact attention there is on this backend.",
        plural(counts.runs, "timed run"),
        settings.slow_seconds,
        plural(counts.slow_runs.min(counts.runs), "run"),
    )];
    match settings.baselines.is_empty() {
        true => paragraphs.push(
            "PyTorch was not asked for; `--baseline torch` times it in the same rounds.".to_owned(),
        ),
        false => paragraphs.push(
            "PyTorch runs the same shapes with random weights on the same device, on a CPU with as \
             many threads, in a process of its own that waits while others run."
                .to_owned(),
        ),
    }
    paragraphs.extend(extension_words(settings.extension, records));
    paragraphs
}

fn timed<'a>(
    experiment: &'a Speed,
    records: &'a Records,
    rows: &'a [ArmSpec],
    scope: &'a str,
) -> Timed<'a> {
    Timed {
        records,
        rows,
        lengths: &experiment.settings.lengths,
        scope,
    }
}

fn figure(experiment: &Speed, records: &Records, rows: &[ArmSpec]) -> Figure {
    let mut pictures = Vec::new();
    for (scope, words) in SCOPES {
        let timed = timed(experiment, records, rows, scope);
        pictures.push(timed.seconds_chart(format!("Seconds, {words}")));
        if dense_place(rows).is_some() {
            pictures.push(timed.speedup_chart(format!("Speed-up, {words}")));
        }
    }
    Figure {
        id: "time".to_owned(),
        title: "Time by length".to_owned(),
        note: "Means over rounds, with bootstrap 95 % intervals. On the left both axes are \
               logarithmic: n² is twice as steep as n."
            .to_owned(),
        pictures,
        columns: 2,
    }
}
