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
mod tuning;
mod watched;

use crate::error::ReportError;
use crate::experiment::Experiment;
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
    make: Make,
}

/// Amounts of an experiment that sweeps one setting.
const SWEEP: &[&str] = &["texts", "questions", "per_unit"];

/// Amounts of measurements in processes.
const PROCESSES: &[&str] = &["lengths", "processes"];

/// Every experiment.
#[rustfmt::skip]
const ALL: [Known; 24] = [
    Known {
        name: "similarity",
        version: similarity::VERSION,
        amounts: &["text_lengths", "random_lengths", "texts_per_domain", "random_sequences", "per_unit"],
        make: similarity::boxed,
    },
    Known {
        name: "agreement",
        version: agreement::VERSION,
        amounts: &["texts_per_domain", "per_unit"],
        make: agreement::boxed,
    },
    Known {
        name: "attention-maps",
        version: attention_maps::VERSION,
        amounts: &["texts"],
        make: attention_maps::boxed,
    },
    Known { name: "speed", version: speed::VERSION, amounts: &["lengths", "runs"], make: speed::boxed },
    Known {
        name: "streaming",
        version: streaming::VERSION,
        amounts: &["lengths", "rounds"],
        make: streaming::boxed,
    },
    Known {
        name: "reading-memory",
        version: memory::VERSION,
        amounts: PROCESSES,
        make: memory::of_reading,
    },
    Known { name: "memory", version: memory::VERSION, amounts: PROCESSES, make: memory::of_a_pass },
    Known {
        name: "training-memory",
        version: memory::VERSION,
        amounts: PROCESSES,
        make: memory::of_training,
    },
    Known {
        name: "weights",
        version: weights::VERSION,
        amounts: &["lengths", "runs", "texts", "questions", "per_unit"],
        make: weights::boxed,
    },
    Known { name: "density", version: density::VERSION, amounts: &["lengths", "texts"], make: density::boxed },
    Known {
        name: "summarisation",
        version: summarisation::VERSION,
        amounts: &["articles", "per_unit"],
        make: summarisation::boxed,
    },
    Known {
        name: "perplexity",
        version: perplexity::VERSION,
        amounts: &["pieces", "per_unit"],
        make: perplexity::boxed,
    },
    Known { name: "qa", version: qa::VERSION, amounts: &["distances", "questions", "per_unit"], make: qa::boxed },
    Known {
        name: "recovery",
        version: recovery::VERSION,
        amounts: &["texts_per_domain", "articles", "questions", "per_unit"],
        make: recovery::boxed,
    },
    Known { name: "methods", version: methods::VERSION, amounts: &[], make: methods::boxed },
    Known {
        name: "extension",
        version: extension::VERSION,
        amounts: &["distances", "texts_per_domain", "questions", "per_unit"],
        make: extension::boxed,
    },
    Known { name: "chunk-size", version: sweep::VERSION, amounts: SWEEP, make: sweep::boxed },
    Known { name: "compression", version: sweep::VERSION, amounts: SWEEP, make: sweep::boxed },
    Known { name: "clusters", version: sweep::VERSION, amounts: SWEEP, make: sweep::boxed },
    Known { name: "exact-clusters", version: sweep::VERSION, amounts: SWEEP, make: sweep::boxed },
    Known { name: "lookups", version: sweep::VERSION, amounts: SWEEP, make: sweep::boxed },
    Known { name: "levels", version: levels::VERSION, amounts: SWEEP, make: levels::boxed },
    Known { name: "layers", version: layers::VERSION, amounts: &["texts", "per_unit"], make: layers::boxed },
    Known { name: "hybrid", version: hybrid::VERSION, amounts: &["texts"], make: hybrid::boxed },
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
