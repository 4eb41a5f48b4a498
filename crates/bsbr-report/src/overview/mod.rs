//! The research report's claims, the verdicts of the records on them, and the default arm in a few
//! numbers.
//!
//! All of it is data, read from `assets/overview.toml`. [`answer`] measures each number in the
//! records of its experiment and derives the verdict on a conclusion from those on its claims. This
//! code contains no numbers.

mod data;
mod measure;

pub use data::{CardSpec, Conclusion, Lengths, Measure, NumberSpec, Overview, Statement, Values};
pub(crate) use measure::{decisive, each};

use crate::host::On;
use crate::present::layout::ScatterSpec;
use crate::present::subject::Subject;
use crate::present::words::capital;
use crate::present::words::plural;
use crate::record::Records;
use crate::render::scatter::{Axis, Point, scatter};
use crate::reported::Reported;
use crate::section::{Cell, Picture, Verdict};
use crate::spec::{ArmSpec, Spec};
use crate::verdict::Judgement;

impl Verdict {
    /// Whether nothing was measured.
    pub(crate) fn is_open(&self) -> bool {
        self.judgement == Judgement::NotMeasured
    }
}

/// A conclusion with the verdicts on its claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The conclusion's text.
    pub text: String,
    /// The verdicts on its statements.
    pub findings: Vec<Verdict>,
}

impl Answer {
    /// The number of its claims that hold, of those that were measured: `9 of 11 hold`.
    pub fn count(&self) -> String {
        let holding = self.claims(|one| one == Judgement::Holds);
        match self.claims(|one| one != Judgement::NotMeasured) {
            0 => "not measured".to_owned(),
            1 => format!("{holding} of 1 holds"),
            all => format!("{holding} of {all} hold"),
        }
    }

    /// The number of its claims with some verdicts.
    fn claims(&self, is: impl Fn(Judgement) -> bool) -> usize {
        let claims = self.findings.iter().filter(|one| !one.observation);
        claims.filter(|one| is(one.judgement)).count()
    }

    /// The findings for a page: the measured ones, and one that names the others; none if nothing
    /// was measured.
    pub fn shown(&self) -> Vec<Verdict> {
        let (open, mut shown): (Vec<Verdict>, Vec<Verdict>) =
            self.findings.iter().cloned().partition(Verdict::is_open);
        let Some(first) = open.first().filter(|_| !shown.is_empty()) else {
            return shown;
        };
        let reasons = self.reasons().into_iter().map(|(why, texts)| {
            let why = why.trim_end_matches('.');
            format!("{why}: {}.", texts.join("; "))
        });
        shown.push(Verdict {
            claim: match open.len() {
                1 => "1 other claim".to_owned(),
                all => format!("{all} other claims"),
            },
            observation: false,
            section: None,
            of_default: true,
            why: reasons.collect::<Vec<_>>().join(" "),
            ..first.clone()
        });
        shown
    }

    /// Why statements were not measured: each reason once, with their texts.
    fn reasons(&self) -> Vec<(&str, Vec<&str>)> {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for one in self.findings.iter().filter(|one| one.is_open()) {
            match reasons.iter_mut().find(|(why, _)| *why == one.why) {
                Some((_, texts)) => texts.push(&one.claim),
                None => reasons.push((&one.why, vec![&one.claim])),
            }
        }
        reasons
    }

    /// The number of the other claims, or why nothing was measured; empty if all hold.
    pub fn others(&self) -> String {
        if self.findings.iter().all(Verdict::is_open) {
            let reasons = self.reasons().into_iter().map(|(why, _)| why);
            return reasons.collect::<Vec<_>>().join(" ");
        }
        let misses = self.claims(|one| one == Judgement::Misses);
        let undecided = self.claims(Judgement::is_undecided);
        let all = [
            (misses, if misses == 1 { "misses" } else { "miss" }),
            (undecided, "undecided"),
            (
                self.claims(|one| one == Judgement::NotMeasured),
                "not measured",
            ),
        ];
        let some = all.into_iter().filter(|(count, _)| *count > 0);
        let words = some.map(|(count, word)| format!("{count} {word}"));
        words.collect::<Vec<_>>().join(", ")
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
    experiments: &[Recorded<'_>],
    reported: &Reported,
    arms: &[ArmSpec],
) -> Answers {
    let experiments = Experiments(experiments);
    let conclusion = |one: &Conclusion| {
        let statements = one.statements.iter();
        Answer {
            text: one.text.clone(),
            findings: statements
                .map(|one| experiments.finding(one, reported))
                .collect(),
        }
    };
    let cards = overview.cards.iter();
    let scatters = overview.scatters.iter();
    Answers {
        cards: cards.filter_map(|one| experiments.card(one)).collect(),
        scatters: scatters
            .filter_map(|one| experiments.scatter(one, arms))
            .collect(),
        conclusions: overview.conclusions.iter().map(conclusion).collect(),
    }
}

/// The experiments with records.
#[derive(Clone, Copy)]
struct Experiments<'a>(&'a [Recorded<'a>]);

impl<'a> Experiments<'a> {
    fn of(self, name: &str) -> Option<Recorded<'a>> {
        let mut all = self.0.iter();
        let found = all.find(|one| one.spec.method.experiment == name);
        found.copied()
    }

    fn number(self, one: &NumberSpec, arm: &str) -> Option<Cell> {
        let experiment = self.of(&one.experiment)?;
        let found = measure::measure(&one.measure, &experiment, arm, one.style).ok();
        found.filter(|cell| cell.value().is_some())
    }

    /// The measured numbers of a card; `None` without any.
    fn card(self, card: &CardSpec) -> Option<Card> {
        let numbers = card.numbers.iter().filter_map(|one| {
            let found = self.number(one, &one.arm)?;
            let spec = self.of(&one.experiment)?.spec;
            let beside = beside(&one.beside, spec, |arm| self.number(one, arm));
            Some((one.text.clone(), found, beside))
        });
        let numbers: Vec<_> = numbers.collect();
        (!numbers.is_empty()).then(|| Card {
            title: card.title.clone(),
            numbers,
        })
    }

    /// The points of all arms with both numbers; `None` with less than two.
    fn scatter(self, spec: &ScatterSpec<NumberSpec>, arms: &[ArmSpec]) -> Option<Picture> {
        let points = Subject::arms(arms).into_iter().filter_map(|subject| {
            let of = |one: &NumberSpec| match self.number(one, &subject.id)? {
                Cell::Measured(found, _) => Some(found),
                _ => None,
            };
            let both = [of(&spec.x)?, of(&spec.y)?];
            Some((subject, both))
        });
        let points: Vec<Point> = points.collect();
        let axis = |one: &NumberSpec, scale| Axis {
            label: one.text.clone(),
            style: one.style,
            scale,
        };
        let axes = [axis(&spec.x, None), axis(&spec.y, spec.y_scale)];
        scatter(&spec.title, &axes, &points)
    }

    fn finding(self, statement: &Statement, reported: &Reported) -> Verdict {
        let experiment = self.of(&statement.experiment);
        let goal = experiment.and_then(|one| statement.measure.goal(one.spec));
        let decided = goal.unwrap_or(statement);
        let (arm, measure, bounds) = (&decided.arm, &decided.measure, &decided.bounds);
        let style = statement.style;
        let recorded = recorded(statement, experiment);
        let cases = recorded.and_then(|one| each(measure, &one, arm, style));
        let (at, measured) = decisive(&cases, bounds);
        let own = experiment.and_then(|one| arm_of(one.spec, arm));
        let label = own.map_or(arm, |own| &own.label);
        let verdict = bounds.verdict(&statement.text, label, measured, style);
        let why = match &cases {
            Ok(cases) => {
                let mut words = vec![format!("required: {}", verdict.required)];
                words.extend(at.map(|at| {
                    let holds = |(_, cell): &&(_, Cell)| bounds.judge(cell) == Judgement::Holds;
                    let holding = cases.iter().filter(holds).count();
                    match cases.len() {
                        1 => format!("at {}", plural(at as u64, "token")),
                        all => format!(
                            "it holds at {holding} of {all} lengths, the worst is {}",
                            plural(at as u64, "token")
                        ),
                    }
                }));
                let beside = experiment.map(|one| {
                    let number = |arm: &str| measure::measure(measure, &one, arm, style).ok();
                    beside(&statement.beside, one.spec, number)
                });
                let beside = beside.filter(|words| !words.is_empty());
                words.extend(beside.map(|words| format!("for comparison: {words}")));
                let figure = statement.reported.as_ref();
                let figure = figure.and_then(|name| reported.figure(name));
                words.extend(figure.map(|figure| format!("the report: {figure}")));
                words.join("; ")
            }
            Err(reason) => reason.clone(),
        };
        let mut why = capital(&why) + ".";
        if let (Some(note), false) = (&statement.note, verdict.is_open()) {
            why = format!("{why} {note}");
        }
        let shown = experiment.filter(|one| one.records.first().is_some());
        Verdict {
            of_default: own.is_some_and(|own| own.default),
            observation: statement.observation,
            section: shown.map(|one| one.spec.method.experiment.clone()),
            why,
            ..verdict
        }
    }
}

/// The arm of a model; the id of a trained one is its arm's, `@` and the epochs.
fn arm_of<'a>(spec: &'a Spec, id: &str) -> Option<&'a ArmSpec> {
    spec.arm(id.split('@').next().unwrap_or(id))
}

/// The numbers of other arms, with their labels.
fn beside(arms: &[String], spec: &Spec, number: impl Fn(&str) -> Option<Cell>) -> String {
    let numbers = arms.iter().filter_map(|arm| {
        let label = arm_of(spec, arm).map_or(arm, |own| &own.label);
        Some(format!("{label} {}", number(arm)?.main()))
    });
    // Labels contain commas.
    numbers.collect::<Vec<_>>().join(" · ")
}

/// The records that decide a statement, or why there are none: they must be from its device.
fn recorded<'a>(
    statement: &Statement,
    experiment: Option<Recorded<'a>>,
) -> Result<Recorded<'a>, String> {
    let device = statement.device.map(|one| format!(" on {}", one.name()));
    let device = device.unwrap_or_default();
    let none = format!("no records of “{}”{device}", statement.experiment);
    let first = experiment.and_then(|one| Some((one, one.records.first()?)));
    let (experiment, first) = first.ok_or_else(|| none.clone())?;
    let device = &first.identity.device;
    match statement.device {
        wanted @ Some(_) if wanted != On::of(device) => {
            Err(format!("{none}: the records are from {device}"))
        }
        _ => Ok(experiment),
    }
}
