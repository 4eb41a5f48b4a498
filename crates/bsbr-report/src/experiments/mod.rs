//! The experiments: each has a specification and a small module.

pub mod agreement;
pub mod attention_maps;
pub mod density;
pub mod extension;
pub mod hybrid;
pub mod layers;
pub mod levels;
pub mod memory;
pub mod methods;
pub mod perplexity;
pub mod qa;
pub mod recovery;
pub mod similarity;
pub mod speed;
pub mod streaming;
pub mod summarisation;
pub mod sweep;
pub mod weights;

mod beside;
mod common;
mod frame;
mod measure;
mod tuning;
mod watched;

use crate::error::ReportError;
use crate::experiment::Experiment;
use crate::experiments::measure::QUESTIONS;
use crate::experiments::tuning::TRAINING;
use crate::present::names::Names;
use crate::record::RANDOM;
use crate::spec::Spec;

/// Builds an experiment from its specification.
type Make = fn(Spec) -> Result<Box<dyn Experiment>, ReportError>;

/// An experiment in the crate's list.
struct Known {
    name: &'static str,
    /// Part of the hash of a record; raise it when the same specification gives other numbers.
    version: u32,
    /// Settings and counts that determine the units, but not what a unit measures.
    amounts: &'static [&'static str],
    /// What its specification may use.
    names: Names,
    make: Make,
}

/// Amounts of an experiment that sweeps one setting.
const SWEEP: &[&str] = &["texts", "questions", "per_unit"];

/// Names of an experiment that sweeps one setting.
const SWEPT: Names = Names {
    sources: &[QUESTIONS],
    rows: &["swept"],
    lines: &["values"],
    ..NONE
};

/// Amounts of measurements in processes.
const PROCESSES: &[&str] = &["lengths", "processes"];

/// Names of measurements of the whole model in rounds or processes.
const MODEL: Names = Names {
    sources: &["model"],
    options: &["limit_mib", "baselines"],
    ..NONE
};

const NONE: Names = Names::NONE;

const fn known(
    (name, version): (&'static str, u32),
    make: Make,
    amounts: &'static [&'static str],
    names: Names,
) -> Known {
    Known {
        name,
        version,
        amounts,
        names,
        make,
    }
}

/// Every experiment.
#[rustfmt::skip]
const ALL: [Known; 25] = [
    known(
        ("similarity", similarity::VERSION), similarity::boxed,
        &["text_lengths", "random_lengths", "texts_per_domain", "random_sequences", "per_unit"],
        Names { sources: &[RANDOM], ..NONE },
    ),
    known(("agreement", agreement::VERSION), agreement::boxed, &["texts_per_domain", "per_unit"], NONE),
    known(
        ("attention-maps", attention_maps::VERSION), attention_maps::boxed, &["texts"],
        Names { blocks: &["gallery", "far", "between", "within"], ..NONE },
    ),
    known(
        ("speed", speed::VERSION), speed::boxed, &["lengths", "runs"],
        Names { sources: &["model", "attention"], words: &["slow runs"], ..MODEL },
    ),
    known(("streaming", streaming::VERSION), streaming::boxed, &["lengths", "rounds"], MODEL),
    known(("reading-memory", memory::VERSION), memory::of_reading, PROCESSES, MODEL),
    known(("memory", memory::VERSION), memory::of_a_pass, PROCESSES, MODEL),
    known(("training-memory", memory::VERSION), memory::of_training, PROCESSES, MODEL),
    known(
        ("weights", weights::VERSION), weights::boxed,
        &["lengths", "runs", "texts", "questions", "per_unit"],
        Names { sources: &["model", "decoding", QUESTIONS], ..NONE },
    ),
    known(("density", density::VERSION), density::boxed, &["lengths", "texts"], NONE),
    known(
        ("summarisation", summarisation::VERSION), summarisation::boxed, &["articles", "per_unit"],
        Names {
            blocks: &["preferences", "example"],
            words: &["articles", "origin", "size", "how", "stems", "stale"],
            ..NONE
        },
    ),
    known(
        ("perplexity", perplexity::VERSION), perplexity::boxed, &["pieces", "per_unit"],
        Names { blocks: &["tables"], words: &["tokens", "strides", "wikitext"], ..NONE },
    ),
    known(
        ("qa", qa::VERSION), qa::boxed, &["distances", "questions", "per_unit"],
        Names { sources: &[QUESTIONS], words: &["chance", "reached"], ..NONE },
    ),
    known(
        ("recovery", recovery::VERSION), recovery::boxed,
        &["texts_per_domain", "articles", "questions", "per_unit"],
        Names {
            sources: &[QUESTIONS, TRAINING],
            rows: &["retrieving"],
            words: &["window", "tokens", "rows", "after"],
            ..NONE
        },
    ),
    known(
        ("methods", methods::VERSION), methods::boxed, &[],
        Names {
            sources: &[QUESTIONS, TRAINING],
            blocks: &["cheapest"],
            words: &["arm", "rows", "epochs", "window", "tokens"],
            ..NONE
        },
    ),
    known(
        ("extension", extension::VERSION), extension::boxed,
        &["distances", "texts_per_domain", "questions", "per_unit"],
        Names { sources: &[QUESTIONS], ..NONE },
    ),
    known(("chunk-size", sweep::VERSION), sweep::boxed, SWEEP, SWEPT),
    known(("compression", sweep::VERSION), sweep::boxed, SWEEP, SWEPT),
    known(("clusters", sweep::VERSION), sweep::boxed, SWEEP, SWEPT),
    known(("exact-clusters", sweep::VERSION), sweep::boxed, SWEEP, SWEPT),
    known(("lookups", sweep::VERSION), sweep::boxed, SWEEP, SWEPT),
    known(("spans", sweep::VERSION), sweep::boxed, SWEEP, SWEPT),
    known(
        ("levels", levels::VERSION), levels::boxed, SWEEP,
        Names { sources: &[levels::CHOICE, QUESTIONS], ..NONE },
    ),
    known(
        ("layers", layers::VERSION), layers::boxed, &["texts", "per_unit"],
        Names {
            blocks: &["observations", "choices"],
            rows: &["alone", "first", "last", "greedy"],
            lines: &["alone", "orders"],
            ..NONE
        },
    ),
    known(
        ("hybrid", hybrid::VERSION), hybrid::boxed, &["texts"],
        Names {
            sources: &[hybrid::CROSSOVER, hybrid::CHOSEN],
            blocks: &["boundary", "overview"],
            words: &["arm", "slow runs"],
            ..NONE
        },
    ),
];

/// The names of the experiments.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|one| one.name).collect()
}

/// The version of an experiment's method.
///
/// # Errors
///
/// [`ReportError::UnknownExperiment`] if there is no such experiment.
pub fn version(name: &str) -> Result<u32, ReportError> {
    find(name).map(|one| one.version)
}

/// Settings and counts that determine the units, but not what a unit measures: records stay valid
/// when these change.
///
/// # Errors
///
/// [`ReportError::UnknownExperiment`] if there is no such experiment.
pub fn amounts(name: &str) -> Result<&'static [&'static str], ReportError> {
    find(name).map(|one| one.amounts)
}

/// What a specification of an experiment may use.
///
/// # Errors
///
/// [`ReportError::UnknownExperiment`] if there is no such experiment.
pub fn used(name: &str) -> Result<&'static Names, ReportError> {
    find(name).map(|one| &one.names)
}

/// The implementation of a specification.
///
/// # Errors
///
/// [`ReportError`] if its settings or counts are invalid.
pub fn build(spec: &Spec) -> Result<Box<dyn Experiment>, ReportError> {
    (find(&spec.method.experiment)?.make)(spec.clone())
}

fn find(name: &str) -> Result<&'static Known, ReportError> {
    let found = ALL.iter().find(|one| one.name == name);
    found.ok_or_else(|| ReportError::UnknownExperiment {
        name: name.to_owned(),
        known: names().join(", "),
    })
}
