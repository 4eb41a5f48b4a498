//! The section on recovery.

use crate::estimate::Estimate;
use crate::experiments::common::{
    Subject, by_estimate, extension_words, lines, plural, provenance,
};
use crate::experiments::recovery::gap::{Measured, Scale};
use crate::experiments::recovery::{QUESTIONS, Recovery, TRAINING, cut_id, tuned_id};
use crate::experiments::summarisation;
use crate::experiments::summarisation::render::add_preferences;
use crate::judge::tally;
use crate::record::{Pool, Records};
use crate::render::chart::LineChart;
use crate::render::scale;
use crate::reported;
use crate::section::{Block, Cell, Figure, Headline, Section, Style, Table};
use crate::spec::{ArmSpec, dense};

/// A quantity as tables show it.
struct Shown<'a> {
    title: &'static str,
    note: &'static str,
    style: Style,
    measured: Measured<'a>,
}

impl Shown<'_> {
    /// The column of a table.
    fn column(&self) -> (String, Style) {
        (self.title.to_owned(), self.style)
    }
}

fn shown(experiment: &Recovery) -> [Shown<'static>; 5] {
    let settings = &experiment.settings;
    let of = |quantity, from, length| Measured {
        quantity,
        from,
        length,
        scale: Scale::Mean,
    };
    let share = |title, note, measured| Shown {
        title,
        note,
        style: Style::Percent(1),
        measured,
    };
    let questions = |quantity| of(quantity, Pool::Source(QUESTIONS), settings.distance);
    [
        Shown {
            title: "perplexity",
            note: "The exponential of the mean negative log likelihood of a token of the texts; \
                   lower is better.",
            style: Style::Digits(4),
            measured: Measured {
                scale: Scale::Exponential,
                ..of("nll", Pool::Texts, settings.length)
            },
        },
        share(
            "ROUGE-L",
            "F1 of summaries beside the highlights, in percent.",
            of("rougeL", Pool::Texts, summarisation::LENGTH),
        ),
        share(
            "right answers",
            "Share of far questions whose right answer is the likeliest of all candidates.",
            questions("among"),
        ),
        share(
            "exact answers",
            "Share of far questions where the most probable tokens spell the answer.",
            questions("exact"),
        ),
        share(
            "top-1",
            "Share of positions of the texts where the most probable token is the original's.",
            of("top1", Pool::Texts, settings.length),
        ),
    ]
}

/// The arms after some epochs.
fn subjects(arms: &[ArmSpec], epochs: u64) -> Vec<Subject> {
    let mut all = Subject::arms(arms);
    for (one, arm) in all.iter_mut().zip(arms) {
        one.id = tuned_id(&arm.id, epochs);
    }
    all
}

pub(super) fn section(experiment: &Recovery, records: &Records) -> Section {
    let spec = &experiment.spec;
    let arms = &spec.method.arms;
    let last = experiment.counts.last();
    let shown = shown(experiment);
    let mut blocks = vec![Block::Table(after(experiment, records, &shown))];
    blocks.extend(
        shown
            .iter()
            .map(|one| Block::Table(by_epochs(experiment, records, one))),
    );
    blocks.push(Block::Figure(figure(experiment, records, &shown)));
    if let Some(dense) = dense(arms) {
        for (control, title, note) in [
            (
                false,
                "The gap to the original closed",
                "Of what converting cost, the share that training won back: (before − after) ÷ \
                 (before − the original, untrained). Training also teaches what the original does \
                 not know, so that it may be above 100 %, and for top-1 it takes a model away from \
                 the original whatever its arm.",
            ),
            (
                true,
                "The gap to the tuned original closed",
                "The same beside the dense model trained on the same tokens in the same order: \
                 100 % is all that the arm could win.",
            ),
        ] {
            for &epochs in experiment.counts.epochs.iter().rev().filter(|&&n| n > 0) {
                let goal = tuned_id(&dense.id, if control { epochs } else { 0 });
                let title = format!("{title} after {}", plural(epochs, "epoch"));
                let mut table = gaps(experiment, records, &shown, &goal, epochs);
                table.folded = epochs != last;
                blocks.push(Block::Table(Table {
                    title,
                    note: note.to_owned(),
                    ..table
                }));
            }
        }
    }
    blocks.push(Block::Table(without_retrieval(experiment, records, &shown)));
    blocks.push(Block::Text(worth(experiment, records, &shown)));
    blocks.push(Block::Table(curves(experiment, records)));
    Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: method(experiment, records),
        verdicts: Vec::new(),
        headlines: shown
            .iter()
            .take(1)
            .map(|one| headline(arms, records, one, last))
            .collect(),
        blocks,
        comparisons: reported::compare(&experiment.claims, arms, records),
        provenance: provenance(spec, records),
    }
}

fn method(experiment: &Recovery, records: &Records) -> Vec<String> {
    let (settings, counts) = (&experiment.settings, &experiment.counts);
    let window = records
        .measurements()
        .find(|one| one.source == TRAINING)
        .map_or(settings.window, |one| one.length);
    let epochs: Vec<String> = counts.epochs.iter().map(u64::to_string).collect();
    let mut paragraphs = vec![
        format!(
            "Every arm is trained on the same {} of {window} tokens, read again in every epoch in \
             an order of its own: an epoch is {} tokens. All parameters are trained on the next \
             token, by AdamW with a learning rate that rises to {} and falls along a cosine to a \
             tenth of it, {} a step. The dense model is trained too, on the same tokens in the same \
             order: what it gains has nothing to do with attention, and it is the control. Models \
             are measured after {} epochs, each number of epochs a run of its own.",
            plural(counts.windows, "window"),
            counts.windows * window as u64,
            settings.learning_rate,
            plural(settings.rows as u64, "window"),
            epochs.join(", "),
        ),
        format!(
            "Measured on {} of {} tokens of each domain, {} to summarise in at most {} tokens, and \
             {} about facts at least {} words back with {} candidates; none of them is trained on. \
             Intervals of shares and differences draw the samples of all models together.",
            plural(counts.texts_per_domain, "text"),
            settings.length,
            plural(counts.articles, "article"),
            settings.max_new_tokens,
            plural(counts.questions, "question"),
            settings.distance,
            settings.candidates,
        ),
    ];
    paragraphs.extend(extension_words(settings.extension, records));
    paragraphs
}

/// Everything at the end of training, and what people prefer.
fn after(experiment: &Recovery, records: &Records, shown: &[Shown<'_>]) -> Table {
    let arms = &experiment.spec.method.arms;
    let last = experiment.counts.last();
    let subjects = subjects(arms, last);
    let columns: Vec<_> = shown.iter().map(Shown::column).collect();
    let mut table = by_estimate(
        format!("After {}", plural(last, "epoch")),
        "Preferred to tuned dense: the share of people's votes with a preference, blind, for the \
         row's summary over the tuned dense model's of the same article.",
        &subjects,
        &columns,
        |subject, place| shown[place].measured.of(records, &subject.id),
    );
    if let Some(dense) = dense(arms) {
        let control = tuned_id(&dense.id, last);
        add_preferences(
            &mut table,
            &subjects,
            &control,
            "tuned dense",
            &tally(records),
        );
    }
    table
}

/// One quantity after each number of epochs.
fn by_epochs(experiment: &Recovery, records: &Records, shown: &Shown<'_>) -> Table {
    let epochs = &experiment.counts.epochs;
    let columns: Vec<_> = epochs
        .iter()
        .map(|&epochs| (plural(epochs, "epoch"), shown.style))
        .collect();
    let find = |subject: &Subject, place: usize| {
        let id = tuned_id(&subject.id, epochs[place]);
        shown.measured.of(records, &id)
    };
    let arms = Subject::arms(&experiment.spec.method.arms);
    let title = format!("{} by epochs", capital(shown.title));
    let mut table = by_estimate(title, shown.note, &arms, &columns, find);
    table.folded = shown.title == "exact answers";
    table
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|one| one.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// How much of the gap to `goal` each arm has closed after some epochs.
fn gaps(
    experiment: &Recovery,
    records: &Records,
    shown: &[Shown<'_>],
    goal: &str,
    epochs: u64,
) -> Table {
    let columns: Vec<_> = shown
        .iter()
        .map(|one| (one.title.to_owned(), Style::Percent(0)))
        .collect();
    let find = |subject: &Subject, place: usize| {
        let [before, after] = [0, epochs].map(|epochs| tuned_id(&subject.id, epochs));
        let ids = [before.as_str(), after.as_str(), goal];
        shown[place].measured.closed(records, ids)
    };
    let arms = &experiment.spec.method.arms;
    let mut subjects = Subject::arms(arms);
    subjects.retain(|one| dense(arms).is_none_or(|dense| dense.id != one.id));
    by_estimate("", "", &subjects, &columns, find)
}

/// The arms that retrieve from afar.
fn retrieving(arms: &[ArmSpec]) -> Vec<Subject> {
    let mut subjects = Subject::arms(arms);
    subjects.retain(|one| {
        let arm = arms.iter().find(|arm| arm.id == one.id);
        arm.is_some_and(|arm| arm.config.without_retrieval().is_some())
    });
    subjects
}

/// What deleting an arm's retrieval changes in a quantity, once it is trained.
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

fn without_retrieval(experiment: &Recovery, records: &Records, shown: &[Shown<'_>]) -> Table {
    let columns: Vec<_> = shown.iter().map(Shown::column).collect();
    let subjects = retrieving(&experiment.spec.method.arms);
    let find = |subject: &Subject, place: usize| {
        difference(experiment, records, &subject.id, &shown[place])
    };
    let mut table = by_estimate(
        "With the retrieval deleted after training",
        format!(
            "The model after {} with its arm switched to `local`, minus itself as it was trained; \
             shares in points. What changes is what has an interval without 0.",
            plural(experiment.counts.last(), "epoch")
        ),
        &subjects,
        &columns,
        find,
    );
    table.columns.push("deleting it changes".to_owned());
    for (row, subject) in table.rows.iter_mut().zip(&subjects) {
        let text = changes(experiment, records, &subject.id, shown);
        row.cells.push(text.map_or_else(Cell::Missing, Cell::Text));
    }
    table
}

/// What deleting an arm's retrieval changes, in words.
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
        return Err("it takes two samples to show a change".to_owned());
    }
    let changed = intervals.iter().filter(|(_, one)| !one.contains(0.0));
    let changed: Vec<&str> = changed.map(|(title, _)| *title).collect();
    Ok(match changed.as_slice() {
        [] => "nothing".to_owned(),
        some => some.join(", "),
    })
}

/// What the table says of deleted retrieval, in a sentence.
fn worth(experiment: &Recovery, records: &Records, shown: &[Shown<'_>]) -> String {
    let sentences = retrieving(&experiment.spec.method.arms)
        .into_iter()
        .filter_map(|one| {
            let text = changes(experiment, records, &one.id, shown).ok()?;
            Some(match text.as_str() {
                "nothing" => format!(
                    "In *{}* deleting the retrieval changes nothing that these samples show.",
                    one.label
                ),
                _ => format!("In *{}* deleting the retrieval changes {text}.", one.label),
            })
        });
    let text = sentences.collect::<Vec<_>>().join(" ");
    match text.is_empty() {
        true => "What deleting the retrieval changes is not measured yet.".to_owned(),
        false => text,
    }
}

/// The loss on what is kept back.
fn curves(experiment: &Recovery, records: &Records) -> Table {
    let epochs = &experiment.counts.epochs;
    let found = |id: &str| {
        let mut all = records.measurements();
        let one = all.find(|one| one.arm == id && one.source == TRAINING);
        let value = one.and_then(|one| one.values.get("validation_perplexity"));
        match value {
            Some(&value) => Cell::Number(value, Style::Digits(4)),
            None => Cell::Missing("not measured yet".to_owned()),
        }
    };
    let rows = Subject::arms(&experiment.spec.method.arms)
        .into_iter()
        .map(|one| crate::section::Row {
            cells: epochs
                .iter()
                .map(|&epochs| found(&tuned_id(&one.id, epochs)))
                .collect(),
            head: one.label,
            arm: one.arm,
            strong: one.strong,
        });
    Table {
        title: "Perplexity on windows that are kept back".to_owned(),
        note: format!(
            "{} like those of training.",
            plural(experiment.counts.held_out, "window")
        ),
        corner: "Arm".to_owned(),
        rows: rows.collect(),
        columns: epochs.iter().map(|&n| plural(n, "epoch")).collect(),
        folded: true,
    }
}

fn headline(arms: &[ArmSpec], records: &Records, shown: &Shown<'_>, epochs: u64) -> Headline {
    let cell = |arm: &ArmSpec| {
        let found = shown.measured.of(records, &tuned_id(&arm.id, epochs));
        (arm.id.clone(), Cell::of(found, shown.style))
    };
    Headline {
        title: format!("{} after training", shown.title),
        note: format!("on texts, after {}", plural(epochs, "epoch")),
        cells: arms.iter().map(cell).collect(),
    }
}

fn figure(experiment: &Recovery, records: &Records, shown: &[Shown<'_>]) -> Figure {
    let epochs = &experiment.counts.epochs;
    let arms = &experiment.spec.method.arms;
    let x = |epochs: u64| (epochs as f64 + 1.0).log2();
    let chart = |one: &Shown<'_>| {
        let series = lines(arms, |arm| {
            let points = epochs.iter().filter_map(|&epochs| {
                let found = one.measured.of(records, &tuned_id(arm, epochs)).ok()?;
                Some((x(epochs), found))
            });
            points.collect()
        });
        let all = || series.iter().flat_map(|one| &one.points);
        let top = all().fold(0.0, |top: f64, (_, e)| top.max(e.mean));
        LineChart {
            label: format!("{}, a line for each arm", one.title),
            title: capital(one.title),
            x_label: "epochs".to_owned(),
            x_ticks: epochs.iter().map(|&n| (x(n), n.to_string())).collect(),
            y: match one.measured.scale {
                Scale::Exponential => scale::Scale::log(1.0, top),
                Scale::Mean => scale::Scale::Linear {
                    low: 0.0,
                    high: 1.0,
                },
            },
            series,
        }
        .draw()
    };
    Figure {
        id: "epochs".to_owned(),
        title: "By epochs".to_owned(),
        note: "Bands are bootstrap 95 % intervals over texts, articles or questions.".to_owned(),
        pictures: shown.iter().map(chart).collect(),
        columns: 2,
    }
}
