//! What the research report says, and what the records say of it.
//!
//! [`Conclusion`]s with their [`Statement`]s are data, read from `assets/overview.toml`. [`answer`]
//! measures each statement in the records of its experiment and derives from those what became of
//! the conclusion. Nothing here holds a number.

mod data;
mod measure;

pub use data::{Conclusion, Measure, Statement, read_overview};

use crate::record::Records;
use crate::reported::Claim;
use crate::section::Cell;
use crate::spec::Spec;

use measure::Found;

/// What became of a statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The statement in words.
    pub text: String,
    /// Whether it is shown without deciding on its conclusion.
    pub observation: bool,
    /// The experiment, where its section is on the page.
    pub section: Option<String>,
    /// The id of the arm that decides.
    pub arm: String,
    /// That arm's label.
    pub label: String,
    /// What was measured.
    pub measured: Cell,
    /// Whether it holds; `None` where it was not measured.
    pub holds: Option<bool>,
    /// Why, in one sentence.
    pub why: String,
}

/// A conclusion with what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The conclusion in words.
    pub text: String,
    /// Its statements.
    pub findings: Vec<Finding>,
}

impl Answer {
    /// Whether it holds: not where a claim misses, and only where all are measured.
    pub fn holds(&self) -> Option<bool> {
        let claims = || self.claims();
        if claims().any(|one| one.holds == Some(false)) {
            return Some(false);
        }
        let measured = claims().next().is_some() && claims().all(|one| one.holds.is_some());
        measured.then_some(true)
    }

    /// Why, in one sentence.
    pub fn why(&self) -> String {
        let count = |holds| self.claims().filter(|one| one.holds == holds).count();
        let all = self.claims().count();
        let mut words = vec![format!("{} of {all} claims hold", count(Some(true)))];
        for (number, what) in [(count(Some(false)), "miss"), (count(None), "not measured")] {
            match (number, what) {
                (0, _) => {}
                (1, "miss") => words.push("1 misses".to_owned()),
                (1, _) => words.push("1 is not measured".to_owned()),
                (number, "miss") => words.push(format!("{number} miss")),
                (number, _) => words.push(format!("{number} are not measured")),
            }
        }
        format!("{}.", words.join(", "))
    }

    fn claims(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|one| !one.observation)
    }
}

/// An experiment whose records may answer.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its specification.
    pub spec: &'a Spec,
    /// Its records, with the votes on what they hold.
    pub records: &'a Records,
}

/// Measures every statement in the records.
pub fn answer(
    conclusions: &[Conclusion],
    sources: &[Source<'_>],
    reported: &[Claim],
) -> Vec<Answer> {
    conclusions
        .iter()
        .map(|conclusion| Answer {
            text: conclusion.text.clone(),
            findings: conclusion
                .statements
                .iter()
                .map(|one| finding(one, sources, reported))
                .collect(),
        })
        .collect()
}

fn finding(statement: &Statement, sources: &[Source<'_>], reported: &[Claim]) -> Finding {
    let source = sources
        .iter()
        .find(|one| one.spec.method.experiment == statement.experiment);
    let found = match source {
        Some(source) => measure::measure(statement, source),
        None => Err(not_run(statement)),
    };
    let arm = found.as_ref().map_or(&statement.arm, |found| &found.arm);
    // A model that was trained is called by its arm, `@` and the epochs.
    let label = |id: &str| {
        let known = id.split('@').next().unwrap_or(id);
        match source.and_then(|source| source.spec.arm(known)) {
            Some(arm) => arm.label.clone(),
            None => known.to_owned(),
        }
    };
    Finding {
        text: statement.text.clone(),
        observation: statement.observation,
        section: source
            .filter(|source| source.records.first().is_some())
            .map(|source| section(source.spec, sources)),
        arm: arm.clone(),
        label: label(arm),
        holds: found
            .as_ref()
            .ok()
            .map(|found| found.bounds.hold(found.value)),
        why: match &found {
            Ok(found) => why(statement, found, reported, label),
            Err(reason) => sentence(reason),
        },
        measured: match found {
            Ok(found) => found.cell,
            Err(reason) => Cell::Missing(reason),
        },
    }
}

/// The section that an experiment's numbers are in: its own, or the one that it begins.
fn section(spec: &Spec, sources: &[Source<'_>]) -> String {
    let own = &spec.method.experiment;
    let page = spec.page.as_ref().filter(|page| {
        let mut shown = sources.iter().filter(|one| one.records.first().is_some());
        shown.any(|one| one.spec.method.experiment == **page)
    });
    page.unwrap_or(own).clone()
}

fn not_run(statement: &Statement) -> String {
    let device = statement.device.map(|one| format!(" on {}", one.name()));
    let device = device.unwrap_or_default();
    format!("no records of “{}”{device}", statement.experiment)
}

/// What is required, what others reach, and what the report has.
fn why(
    statement: &Statement,
    found: &Found,
    reported: &[Claim],
    label: impl Fn(&str) -> String,
) -> String {
    let style = statement.form.style();
    let mut words = format!("required: {}", found.bounds.words(style));
    let beside: Vec<String> = found
        .beside
        .iter()
        .map(|(arm, value)| format!("{} {value}", label(arm)))
        .collect();
    if !beside.is_empty() {
        // Labels have commas.
        words = format!("{words}; beside it: {}", beside.join(" · "));
    }
    let number = statement.reported.as_ref().and_then(|id| {
        let claim = reported.iter().find(|claim| claim.id == *id)?;
        claim.value
    });
    if let Some(value) = number {
        words = format!("{words}; the report has {}", style.with_unit(value));
    }
    match &statement.note {
        Some(note) => format!("{} {note}", sentence(&words)),
        None => sentence(&words),
    }
}

/// Words with a capital and a full stop.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}.", letters.as_str())
}
