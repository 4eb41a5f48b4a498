//! The share of an arm's loss that training recovers, and the effect of its retrieval
//! afterwards.

use crate::estimate::Estimate;
use crate::experiments::recovery::gap::{Measured, Scale};
use crate::experiments::recovery::{QUESTIONS, Recovery, cut_id, tuned_id};
use crate::experiments::summarisation;
use crate::present::by_estimate;
use crate::present::subject::Subject;
use crate::present::words::plural;
use crate::record::{Pool, Records};
use crate::section::{Better, Block, Cell, Column, Style, Table};
use crate::spec::dense;

/// A quantity in tables.
struct Shown<'a> {
    title: &'static str,
    style: Style,
    measured: Measured<'a>,
}

fn shown(experiment: &Recovery) -> [Shown<'static>; 5] {
    let settings = &experiment.settings;
    let of = |quantity, from, length| Measured {
        quantity,
        from,
        length,
        scale: Scale::Mean,
    };
    let share = |title, measured| Shown {
        title,
        style: Style::Percent(1),
        measured,
    };
    let questions = |quantity| of(quantity, Pool::Source(QUESTIONS), settings.distance);
    [
        Shown {
            title: "perplexity",
            style: Style::Digits(4),
            measured: Measured {
                scale: Scale::Exponential,
                ..of("nll", Pool::Texts, settings.length)
            },
        },
        share("ROUGE-L", of("rougeL", Pool::Texts, summarisation::LENGTH)),
        share("right answers", questions("among")),
        share("exact answers", questions("exact")),
        share("top-1", of("top1", Pool::Texts, settings.length)),
    ]
}

/// The share of the gap to the original, and to the tuned original, that each arm has
/// closed.
pub(super) fn gaps(experiment: &Recovery, records: &Records) -> Vec<Block> {
    let Some(dense) = dense(experiment.arms()) else {
        return Vec::new();
    };
    let epochs = experiment
        .counts
        .epochs
        .iter()
        .rev()
        .filter(|&&epochs| epochs > 0);
    let epochs: Vec<u64> = epochs.copied().collect();
    let tables = [
        (
            false,
            "The gap to the original closed",
            "The share of the conversion loss that training recovers: (before − after) ÷ (before − \
             the untrained original). Training also teaches what the original does not know. The \
             share may therefore exceed 100 %, and top-1 moves away from the original with any arm.",
        ),
        (
            true,
            "The gap to the tuned original closed",
            "The same, relative to the dense model trained on the same tokens in the same order: \
             100 % is the most that the arm could recover.",
        ),
    ];
    let of = |(control, title, note): (bool, &str, &str), epochs: u64| {
        let goal = tuned_id(&dense.id, if control { epochs } else { 0 });
        let head = Table {
            title: format!("{title} after {}", plural(epochs, "epoch")),
            note: note.to_owned(),
            folded: epochs != experiment.counts.last(),
            ..Table::default()
        };
        Block::Table(gap(experiment, records, head, &goal, epochs))
    };
    let all = tables.into_iter();
    all.flat_map(|table| epochs.iter().map(move |&epochs| (table, epochs)))
        .map(|(table, epochs)| of(table, epochs))
        .collect()
}

/// The share of the gap to `goal` that each arm has closed after some epochs.
fn gap(experiment: &Recovery, records: &Records, head: Table, goal: &str, epochs: u64) -> Table {
    let shown = shown(experiment);
    let more = |one: &Shown<'_>| {
        let column = Column {
            better: Some(Better::More),
            ..Column::from(one.title)
        };
        (column, Style::Percent(0))
    };
    let columns: Vec<_> = shown.iter().map(more).collect();
    let find = |subject: &Subject, place: usize| {
        let [before, after] = [0, epochs].map(|epochs| tuned_id(&subject.id, epochs));
        let ids = [before.as_str(), after.as_str(), goal];
        shown[place].measured.closed(records, ids)
    };
    let mut subjects = Subject::arms(experiment.arms());
    subjects.retain(|one| dense(experiment.arms()).is_none_or(|dense| dense.id != one.id));
    by_estimate(head, &subjects, &columns, find)
}

/// The arms with a far field.
fn retrieving(experiment: &Recovery) -> Vec<Subject> {
    let arms = experiment.arms();
    let mut subjects = Subject::arms(arms);
    subjects.retain(|one| {
        let arm = arms.iter().find(|arm| arm.id == one.id);
        arm.is_some_and(|arm| arm.config.without_retrieval().is_some())
    });
    subjects
}

/// The effect of deleting a trained arm's retrieval on a quantity.
fn difference(
    experiment: &Recovery,
    records: &Records,
    arm: &str,
    shown: &Shown<'_>,
) -> Result<Estimate, String> {
    let last = experiment.counts.last();
    let (whole, cut) = (tuned_id(arm, last), cut_id(arm, last));
    shown
        .measured
        .together(records, [&cut, &whole], |[cut, whole]| cut - whole)
}

/// The effect of deleting the retrieval after training: numbers and text.
pub(super) fn without_retrieval(experiment: &Recovery, records: &Records) -> Vec<Block> {
    let shown = shown(experiment);
    let columns: Vec<_> = shown
        .iter()
        .map(|one| (one.title.into(), one.style))
        .collect();
    let subjects = retrieving(experiment);
    let find = |subject: &Subject, place: usize| {
        difference(experiment, records, &subject.id, &shown[place])
    };
    let head = Table {
        title: "With the retrieval deleted after training".to_owned(),
        note: format!(
            "The model after {} with its arm switched to `local`, minus the model as trained; \
             shares in points. A value counts as changed if its interval excludes 0.",
            plural(experiment.counts.last(), "epoch")
        ),
        ..Table::default()
    };
    let mut table = by_estimate(head, &subjects, &columns, find);
    table.columns.push("deleting it changes".into());
    for (row, subject) in table.rows.iter_mut().zip(&subjects) {
        let text = changes(experiment, records, &subject.id, &shown);
        row.cells.push(text.map_or_else(Cell::Missing, Cell::Text));
    }
    vec![
        Block::Table(table),
        Block::Text(worth(experiment, records, &shown)),
    ]
}

/// The effect of deleting an arm's retrieval, as text.
fn changes(
    experiment: &Recovery,
    records: &Records,
    arm: &str,
    shown: &[Shown<'_>],
) -> Result<String, String> {
    let mut intervals = Vec::new();
    for one in shown {
        let found = difference(experiment, records, arm, one).ok();
        let interval = found.and_then(|found| found.interval);
        intervals.extend(interval.map(|interval| (one.title, interval)));
    }
    if intervals.is_empty() {
        return Err("a change needs two samples".to_owned());
    }
    let changed = intervals.iter().filter(|(_, one)| !one.contains(0.0));
    let changed: Vec<&str> = changed.map(|(title, _)| *title).collect();
    Ok(match changed.as_slice() {
        [] => "nothing".to_owned(),
        some => some.join(", "),
    })
}

/// A sentence about the table of deleted retrieval.
fn worth(experiment: &Recovery, records: &Records, shown: &[Shown<'_>]) -> String {
    let sentences = retrieving(experiment).into_iter().filter_map(|one| {
        let text = changes(experiment, records, &one.id, shown).ok()?;
        Some(match text.as_str() {
            "nothing" => format!(
                "In *{}*, deleting the retrieval changes nothing measurable.",
                one.label
            ),
            _ => format!("In *{}*, deleting the retrieval changes {text}.", one.label),
        })
    });
    let text = sentences.collect::<Vec<_>>().join(" ");
    match text.is_empty() {
        true => "The effect of deleting the retrieval is not measured yet.".to_owned(),
        false => text,
    }
}
