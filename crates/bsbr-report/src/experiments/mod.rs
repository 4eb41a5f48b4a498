//! The experiments: each a specification and a small module.

pub mod agreement;
pub mod attention_maps;
pub mod density;
pub mod hybrid;
pub mod layers;
pub mod memory;
pub mod perplexity;
pub mod qa;
pub mod reading_memory;
pub mod recovery;
pub mod similarity;
pub mod speed;
pub mod summarisation;
pub mod sweep;
pub mod training_memory;

mod beside;
mod common;
mod growth_table;
mod timed;
mod watched;

use crate::error::ReportError;
use crate::experiment::Experiment;
use crate::reported::Claim;
use crate::spec::Spec;

/// How an experiment is made from its specification.
type Make = fn(Spec, Vec<Claim>) -> Result<Box<dyn Experiment>, ReportError>;

/// Every experiment: its name, the version of its method, and how it is made.
///
/// The version is part of the hash of a record, and rises whenever the same specification would
/// give other numbers.
const ALL: [(&str, u32, Make); 19] = [
    (
        "similarity",
        similarity::VERSION,
        similarity::Similarity::boxed,
    ),
    ("agreement", agreement::VERSION, agreement::Agreement::boxed),
    (
        "attention-maps",
        attention_maps::VERSION,
        attention_maps::AttentionMaps::boxed,
    ),
    ("speed", speed::VERSION, speed::Speed::boxed),
    (
        "reading-memory",
        reading_memory::VERSION,
        reading_memory::ReadingMemory::boxed,
    ),
    ("memory", memory::VERSION, memory::Memory::boxed),
    (
        "training-memory",
        training_memory::VERSION,
        training_memory::TrainingMemory::boxed,
    ),
    ("density", density::VERSION, density::Density::boxed),
    (
        "summarisation",
        summarisation::VERSION,
        summarisation::Summarisation::boxed,
    ),
    (
        "perplexity",
        perplexity::VERSION,
        perplexity::Perplexity::boxed,
    ),
    ("qa", qa::VERSION, qa::Qa::boxed),
    ("recovery", recovery::VERSION, recovery::Recovery::boxed),
    ("chunk-size", sweep::VERSION, sweep::Sweep::boxed),
    ("compression", sweep::VERSION, sweep::Sweep::boxed),
    ("clusters", sweep::VERSION, sweep::Sweep::boxed),
    ("exact-clusters", sweep::VERSION, sweep::Sweep::boxed),
    ("lookups", sweep::VERSION, sweep::Sweep::boxed),
    ("layers", layers::VERSION, layers::LayerByLayer::boxed),
    ("hybrid", hybrid::VERSION, hybrid::ByLength::boxed),
];

/// The names of the experiments.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|(name, ..)| *name).collect()
}

/// The version of an experiment's method.
///
/// # Errors
///
/// [`ReportError::UnknownExperiment`] where there is none of that name.
pub fn version(name: &str) -> Result<u32, ReportError> {
    find(name).map(|(version, _)| version)
}

/// The implementation of a specification.
///
/// # Errors
///
/// [`ReportError`] where its settings or counts are wrong.
pub fn build(spec: &Spec, claims: &[Claim]) -> Result<Box<dyn Experiment>, ReportError> {
    let (_, make) = find(&spec.method.experiment)?;
    let claims = claims
        .iter()
        .filter(|one| one.experiment == spec.method.experiment);
    make(spec.clone(), claims.cloned().collect())
}

fn find(name: &str) -> Result<(u32, Make), ReportError> {
    ALL.iter()
        .find(|(known, ..)| *known == name)
        .map(|&(_, version, make)| (version, make))
        .ok_or_else(|| ReportError::UnknownExperiment {
            name: name.to_owned(),
            known: names().join(", "),
        })
}
