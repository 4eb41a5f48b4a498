//! The experiments: each has a specification and a small module.

pub mod levels;
pub mod memory;
pub mod perplexity;

mod agreement;
mod attention_maps;
mod beside;
mod common;
mod density;
mod extension;
mod frame;
mod hybrid;
mod layers;
mod layerwise;
mod measure;
mod methods;
mod qa;
mod recovery;
mod similarity;
mod speed;
mod streaming;
mod summarisation;
mod sweep;
mod tuning;
mod weights;

/// What most experiments use.
mod prelude {
    pub(super) use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
    pub(super) use serde::Deserialize;

    pub(super) use crate::arms;
    pub(super) use crate::compare::{self, host};
    pub(super) use crate::corpus::random;
    pub(super) use crate::engines::{Engine, Kind};
    pub(super) use crate::error::ReportError;
    pub(super) use crate::experiment::{Boxed, Experiment, Measured, Unit, Units};
    pub(super) use crate::experiment::{batches, weighed};
    pub(super) use crate::experiments::common::*;
    pub(super) use crate::experiments::frame::Frame;
    pub(super) use crate::experiments::measure::{QUESTIONS, Tasks, answer, question};
    pub(super) use crate::lab::Lab;
    pub(super) use crate::present::subject::{Line, Subject};
    pub(super) use crate::present::words::plural;
    pub(super) use crate::record::{ALL, Measurement, Pool, RANDOM, Records};
    pub(super) use crate::rounds::{Case, Rounds, model_run, wait_for};
    pub(super) use crate::section::{Block, Cell, Column, Headline, Row, Table, Verdict};
    pub(super) use crate::spec::{ArmSpec, Spec, dense};
    pub(super) use crate::style::{Style, grouped};
    pub(super) use crate::verdict::Bounds;
}

use crate::error::ReportError;
use crate::experiment::Boxed;
use crate::experiments::measure::QUESTIONS;
use crate::experiments::tuning::TRAINING;
use crate::present::names::Names;
use crate::record::RANDOM;
use crate::spec::Spec;

/// An experiment in the crate's list.
pub(crate) struct Known {
    name: &'static str,
    /// Part of the hash of a record; raise it when the same specification gives other numbers.
    pub version: u32,
    /// Settings and counts that determine the units, but not what a unit measures: records stay
    /// valid when these change.
    pub amounts: &'static [&'static str],
    /// What its specification may use.
    pub names: Names,
    make: fn(Spec) -> Boxed,
}

/// Amounts of an experiment that sweeps one setting.
const SWEEP: &[&str] = &["texts", "questions", "per_unit"];

/// Names of an experiment that sweeps one setting.
const SWEPT: Names = &[
    ("from", &[QUESTIONS]),
    ("rows", &["swept"]),
    ("lines", &["values"]),
    ("{}", &["unanswered"]),
];

/// Amounts of measurements in processes.
const PROCESSES: &[&str] = &["lengths", "processes"];

/// Settings that measurements of the whole model may lack.
const OPTIONS: &[&str] = &["limit_mib", "baselines"];

/// Names of measurements of the whole model in rounds or processes.
const MODEL: Names = &[("from", &["model"]), ("when", OPTIONS)];

const fn known(
    (name, version): (&'static str, u32),
    make: fn(Spec) -> Boxed,
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
const ALL: [Known; 26] = [
    known(
        ("similarity", 1), similarity::boxed,
        &["text_lengths", "random_lengths", "texts_per_domain", "random_sequences", "per_unit"],
        &[("from", &[RANDOM])],
    ),
    known(("agreement", 1), agreement::boxed, &["texts_per_domain", "per_unit"], &[]),
    known(
        ("attention-maps", 2), attention_maps::boxed, &["texts"],
        &[("name", &["gallery", "far", "between", "within"])],
    ),
    known(
        ("speed", 1), speed::boxed, &["lengths", "runs"],
        &[("from", &["model", "attention"]), ("when", OPTIONS), ("{}", &["slow runs"])],
    ),
    known(
        ("streaming", 1), streaming::boxed,
        &["lengths", "rounds", "reading_seconds", "generating_seconds"], MODEL,
    ),
    known(("reading-memory", 1), memory::of_reading, PROCESSES, MODEL),
    known(("memory", 1), memory::of_a_pass, PROCESSES, MODEL),
    known(("training-memory", 1), memory::of_training, PROCESSES, MODEL),
    known(
        ("weights", 1), weights::boxed,
        &["lengths", "runs", "texts", "questions", "per_unit"],
        &[("from", &["model", "decoding", QUESTIONS])],
    ),
    known(("density", 1), density::boxed, &["lengths", "texts"], &[]),
    known(
        ("summarisation", 1), summarisation::boxed, &["articles", "per_unit"],
        &[
            ("name", &["preferences", "example"]),
            ("{}", &["articles", "origin", "size", "how", "stems", "stale"]),
        ],
    ),
    known(
        ("perplexity", 1), perplexity::boxed, &["pieces", "per_unit"],
        &[("name", &["tables"]), ("{}", &["tokens", "strides", "wikitext"])],
    ),
    known(
        ("qa", 2), qa::boxed, &["distances", "questions", "per_unit"],
        &[("from", &[QUESTIONS]), ("{}", &["chance", "reached"])],
    ),
    known(
        ("recovery", 2), recovery::boxed,
        &["texts_per_domain", "articles", "questions", "per_unit"],
        &[
            ("from", &[QUESTIONS, TRAINING]),
            ("rows", &["retrieving"]),
            ("{}", &["window", "tokens", "after"]),
        ],
    ),
    known(
        ("methods", 1), methods::boxed, &[],
        &[
            ("from", &[QUESTIONS, TRAINING]),
            ("name", &["cheapest"]),
            ("{}", &["arm", "window", "tokens"]),
        ],
    ),
    known(
        ("extension", 1), extension::boxed,
        &["distances", "texts_per_domain", "questions", "per_unit"],
        &[("from", &[QUESTIONS])],
    ),
    known(
        ("positions", 1), extension::boxed,
        &["distances", "texts_per_domain", "questions", "per_unit"],
        &[("from", &[QUESTIONS])],
    ),
    known(("chunk-size", 1), sweep::boxed, SWEEP, SWEPT),
    known(("compression", 1), sweep::boxed, SWEEP, SWEPT),
    known(("clusters", 1), sweep::boxed, SWEEP, SWEPT),
    known(("exact-clusters", 1), sweep::boxed, SWEEP, SWEPT),
    known(("lookups", 1), sweep::boxed, SWEEP, SWEPT),
    known(("spans", 1), sweep::boxed, SWEEP, SWEPT),
    known(
        ("levels", 1), levels::boxed, SWEEP,
        &[("from", &[levels::CHOICE, QUESTIONS]), ("{}", &["unanswered"])],
    ),
    known(
        ("layers", 1), layers::boxed, &["texts", "per_unit"],
        &[
            ("name", &["observations", "choices"]),
            ("rows", &["alone", "first", "last", "greedy"]),
            ("lines", &["alone", "orders"]),
        ],
    ),
    known(
        ("hybrid", 1), hybrid::boxed, &["texts"],
        &[
            ("from", &[hybrid::CROSSOVER, hybrid::CHOSEN]),
            ("name", &["boundary", "overview"]),
            ("{}", &["arm", "slow runs"]),
        ],
    ),
];

/// The names of the experiments.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|one| one.name).collect()
}

/// The implementation of a specification.
///
/// # Errors
///
/// [`ReportError`] if its settings or counts are invalid.
pub fn build(spec: &Spec) -> Boxed {
    (find(&spec.method.experiment)?.make)(spec.clone())
}

/// An experiment of the list.
///
/// # Errors
///
/// [`ReportError::UnknownExperiment`] if there is no such experiment.
pub(crate) fn find(name: &str) -> Result<&'static Known, ReportError> {
    let found = ALL.iter().find(|one| one.name == name);
    found.ok_or_else(|| ReportError::UnknownExperiment {
        name: name.to_owned(),
        known: names().join(", "),
    })
}
