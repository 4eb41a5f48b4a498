//! The research report's claims, the verdicts of the records on them, and the default arm in a few
//! numbers.
//!
//! All of it is data, read from `assets/overview.toml`. [`answer`] measures each number in the
//! records of its experiment and derives the verdict on a conclusion from those on its claims. This
//! code contains no numbers.

mod data;
mod measure;

pub use data::{CardSpec, Column, Conclusion, Lengths, Measure, NumberSpec, Overview, Statement};

use crate::host::On;
use crate::present::layout::ScatterSpec;
use crate::record::Records;
use crate::render::scatter::{Axis, Point, scatter};
use crate::reported::Reported;
use crate::section::{Cell, Picture};
use crate::spec::{ArmSpec, Spec};
use crate::verdict::Judgement;

/// The verdict on a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The statement's text.
    pub text: String,
    /// Whether it is shown without affecting its conclusion.
    pub observation: bool,
    /// The experiment, if its section is on the page.
    pub section: Option<String>,
    /// The id of the arm that decides.
    pub arm: String,
    /// That arm's label.
    pub label: String,
    /// Whether it is the default arm.
    pub of_default: bool,
    /// The measured value.
    pub measured: Cell,
    /// The verdict.
    pub judgement: Judgement,
    /// The reason, in one sentence.
    pub why: String,
}

/// A conclusion with the verdicts on its claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The conclusion's text.
    pub text: String,
    /// Its statements.
    pub findings: Vec<Finding>,
}

impl Answer {
    /// The number of its claims that hold, and of those that were measured.
    pub fn holding(&self) -> [usize; 2] {
        let count =
            |is: fn(Judgement) -> bool| self.claims().filter(|one| is(one.judgement)).count();
        [
            count(|one| one == Judgement::Holds),
            count(|one| one != Judgement::Open),
        ]
    }

    /// The count as text: `9 of 11 hold`.
    pub fn count(&self) -> String {
        match self.holding() {
            [_, 0] => "not measured".to_owned(),
            [holding, 1] => format!("{holding} of 1 holds"),
            [holding, all] => format!("{holding} of {all} hold"),
        }
    }

    /// The findings for a page: the measured ones, and one that names the others.
    pub fn shown(&self) -> Vec<Finding> {
        let is_open = |one: &&Finding| one.judgement == Judgement::Open;
        let measured = self.findings.iter().filter(|one| !is_open(one));
        let mut shown: Vec<Finding> = measured.cloned().collect();
        let open: Vec<&Finding> = self.findings.iter().filter(is_open).collect();
        let Some(first) = open.first() else {
            return shown;
        };
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for one in &open {
            match reasons.iter_mut().find(|(why, _)| *why == one.why) {
                Some((_, texts)) => texts.push(&one.text),
                None => reasons.push((&one.why, vec![&one.text])),
            }
        }
        let reasons = reasons.iter().map(|(why, texts)| {
            let why = why.trim_end_matches('.');
            format!("{why}: {}.", texts.join("; "))
        });
        let reasons: Vec<String> = reasons.collect();
        let text = match open.len() {
            1 => "1 other statement".to_owned(),
            all => format!("{all} other statements"),
        };
        shown.push(Finding {
            text,
            observation: false,
            section: None,
            of_default: true,
            why: reasons.join(" "),
            ..Finding::clone(first)
        });
        shown
    }

    /// A sentence on the other claims; empty if all hold.
    pub fn others(&self) -> String {
        let count =
            |is: fn(Judgement) -> bool| self.claims().filter(|one| is(one.judgement)).count();
        let misses = count(|one| one == Judgement::Misses);
        let all = [
            (misses, if misses == 1 { "misses" } else { "miss" }),
            (
                count(|one| matches!(one, Judgement::Undecided(_))),
                "undecided",
            ),
            (count(|one| one == Judgement::Open), "not measured"),
        ];
        let some = all.into_iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = some
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        words.join(", ")
    }

    fn claims(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|one| !one.observation)
    }
}

/// A question with the numbers that answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// The question.
    pub title: String,
    /// A number's description, the number, and those of other arms.
    pub numbers: Vec<(String, Cell, String)>,
}

/// The contents of the first screen and the overview.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answers {
    /// The default arm in a few numbers.
    pub cards: Vec<Card>,
    /// Arms by speed and quality.
    pub scatters: Vec<Picture>,
    /// The report's conclusions.
    pub conclusions: Vec<Answer>,
}

/// An experiment with records for the overview.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Its specification.
    pub spec: &'a Spec,
    /// Its records, with the votes on them.
    pub records: &'a Records,
}

/// Measures everything in the records; `arms` are those of the page.
pub fn answer(
    overview: &Overview,
    sources: &[Recorded<'_>],
    reported: &Reported,
    arms: &[ArmSpec],
) -> Answers {
    let conclusion = |one: &Conclusion| Answer {
        text: one.text.clone(),
        findings: one
            .statements
            .iter()
            .map(|one| finding(one, sources, reported))
            .collect(),
    };
    Answers {
        cards: overview
            .cards
            .iter()
            .map(|one| card(one, sources))
            .collect(),
        scatters: overview
            .scatters
            .iter()
            .filter_map(|one| points(one, sources, arms))
            .collect(),
        conclusions: overview.conclusions.iter().map(conclusion).collect(),
    }
}

fn of<'a>(sources: &[Recorded<'a>], experiment: &str) -> Option<Recorded<'a>> {
    let mut sources = sources.iter();
    sources
        .find(|one| one.spec.method.experiment == experiment)
        .copied()
}

fn number(one: &NumberSpec, sources: &[Recorded<'_>], arm: &str) -> Result<Cell, String> {
    let source = of(sources, &one.experiment).filter(|one| one.records.first().is_some());
    let source = source.ok_or_else(|| not_run(&one.experiment, None))?;
    measure::measure(&one.measure, &source, arm, one.style)
}

fn card(card: &CardSpec, sources: &[Recorded<'_>]) -> Card {
    let of_card = |one: &NumberSpec| {
        let found = number(one, sources, &one.arm).unwrap_or_else(Cell::Missing);
        let beside = one.beside.iter().filter_map(|arm| {
            let found = number(one, sources, arm).ok()?;
            Some(format!(
                "{} {}",
                label(sources, &one.experiment, arm),
                found.main()
            ))
        });
        let beside: Vec<String> = beside.collect();
        (one.text.clone(), found, beside.join(" · "))
    };
    let all: Vec<_> = card.numbers.iter().map(of_card).collect();
    let measured = all
        .iter()
        .filter(|(_, cell, _)| !matches!(cell, Cell::Missing(_)));
    let measured: Vec<_> = measured.cloned().collect();
    Card {
        title: card.title.clone(),
        // A page without any of them still says why.
        numbers: if measured.is_empty() { all } else { measured },
    }
}

/// The points of all arms with both numbers; `None` with less than two.
fn points(
    spec: &ScatterSpec<NumberSpec>,
    sources: &[Recorded<'_>],
    arms: &[ArmSpec],
) -> Option<Picture> {
    let points = arms.iter().enumerate().filter_map(|(place, arm)| {
        let of = |one: &NumberSpec| match number(one, sources, &arm.id).ok()? {
            Cell::Measured(found, _) => Some(found),
            _ => None,
        };
        Some(Point {
            arm: place,
            label: arm.label.clone(),
            strong: arm.default,
            x: of(&spec.x)?,
            y: of(&spec.y)?,
        })
    });
    let points: Vec<Point> = points.collect();
    let axis = |one: &NumberSpec, scale| Axis {
        label: one.text.clone(),
        style: one.style,
        scale,
    };
    let (x, y) = (axis(&spec.x, spec.x_scale), axis(&spec.y, spec.y_scale));
    scatter(&spec.title, [&x, &y], &points)
}

/// The label in tables of an arm, or of a trained model, whose id is its arm, `@` and the epochs.
fn label(sources: &[Recorded<'_>], experiment: &str, id: &str) -> String {
    let known = id.split('@').next().unwrap_or(id);
    let arm = of(sources, experiment).and_then(|source| source.spec.arm(known).cloned());
    arm.map_or_else(|| known.to_owned(), |arm| arm.label)
}

fn finding(statement: &Statement, sources: &[Recorded<'_>], reported: &Reported) -> Finding {
    let source = of(sources, &statement.experiment);
    let style = statement.style;
    let goal = source.and_then(|source| match &statement.measure {
        Measure::Goal(name) => source.spec.goals.iter().find(|goal| goal.name == *name),
        _ => None,
    });
    let (arm, bounds) = match goal {
        Some(goal) => (&goal.arm, goal.bounds),
        None => (&statement.arm, statement.bounds()),
    };
    let found = source
        .ok_or_else(|| not_run(&statement.experiment, statement.device))
        .and_then(|source| {
            recorded_on(statement, &source)?;
            measure::each(&statement.measure, &source, arm, style)
        });
    let cases = found.clone().unwrap_or_default();
    let worst = bounds.worst(cases.iter().map(|(_, cell)| cell));
    let (at, measured) = match worst.and_then(|worst| cases.get(worst)) {
        Some((at, cell)) => (*at, cell.clone()),
        None => (None, Cell::Missing(found.clone().err().unwrap_or_default())),
    };
    let own = source.and_then(|source| source.spec.arm(arm.split('@').next().unwrap_or(arm)));
    let judgement = bounds.judge(&measured);
    let why = match found {
        Err(reason) => reason,
        Ok(_) => {
            let beside = statement.beside.iter().filter_map(|arm| {
                let cell = measure::measure(&statement.measure, &source?, arm, style).ok()?;
                let label = label(sources, &statement.experiment, arm);
                Some(format!("{label} {}", cell.main()))
            });
            // Labels contain commas.
            let beside: Vec<String> = beside.collect();
            let mut words = vec![format!("required: {}", bounds.words(style))];
            words.extend(at.map(|at| {
                let holds = |(_, cell): &&(_, Cell)| bounds.judge(cell) == Judgement::Holds;
                let [holding, all] = [cases.iter().filter(holds).count(), cases.len()];
                match all {
                    1 => format!("at {at} tokens"),
                    _ => {
                        format!("it holds at {holding} of {all} lengths, the worst is {at} tokens")
                    }
                }
            }));
            words.extend(judgement.needed());
            words.extend(
                (!beside.is_empty()).then(|| format!("for comparison: {}", beside.join(" · "))),
            );
            let figure = statement
                .reported
                .as_ref()
                .and_then(|name| reported.figure(name));
            words.extend(figure.map(|figure| format!("the report: {figure}")));
            words.join("; ")
        }
    };
    let note = statement.note.iter().map(|note| format!(" {note}"));
    Finding {
        text: statement.text.clone(),
        observation: statement.observation,
        section: source
            .filter(|source| source.records.first().is_some())
            .map(|source| section(source.spec, sources)),
        label: label(sources, &statement.experiment, arm),
        of_default: own.is_some_and(|arm| arm.default),
        arm: arm.clone(),
        measured,
        judgement,
        why: sentence(&why) + &note.collect::<String>(),
    }
}

/// Why the records of an experiment do not count, if they are from another device than the
/// statement's, or if there are none.
fn recorded_on(statement: &Statement, source: &Recorded<'_>) -> Result<(), String> {
    let Some(first) = source.records.first() else {
        return Err(not_run(&statement.experiment, statement.device));
    };
    let device = &first.identity.device;
    match statement.device.filter(|one| Some(*one) != On::of(device)) {
        None => Ok(()),
        Some(wanted) => Err(format!(
            "no records of “{}” on {}: the records are from {device}",
            statement.experiment,
            wanted.name()
        )),
    }
}

/// The section with an experiment's numbers: its own, or the one that it opens.
fn section(spec: &Spec, sources: &[Recorded<'_>]) -> String {
    let own = &spec.method.experiment;
    let page = spec.page.as_ref().filter(|page| {
        let mut shown = sources.iter().filter(|one| one.records.first().is_some());
        shown.any(|one| one.spec.method.experiment == **page)
    });
    page.unwrap_or(own).clone()
}

fn not_run(experiment: &str, device: Option<On>) -> String {
    let device = device.map(|one| format!(" on {}", one.name()));
    format!("no records of “{experiment}”{}", device.unwrap_or_default())
}

/// Text with a capital letter and a full stop.
fn sentence(words: &str) -> String {
    format!("{}.", crate::present::words::capital(words))
}
