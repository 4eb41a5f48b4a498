//! The record of an experiment's unit, and selection of values for tables.

use std::collections::{BTreeMap, BTreeSet};

use bsbr_gpt2::Gpt2;
use burn::module::Module;
use serde::{Deserialize, Serialize};

use crate::estimate::Estimate;
use crate::growth::Level;
use crate::host::{Commit, Machine};
use crate::judge::Vote;
use crate::paired;
use crate::spec::Method;

/// Version of the record's format.
pub const FORMAT: u32 = 2;

/// The source of random sequences.
pub const RANDOM: &str = "random ids";

/// The key of [`Measurement::missing`] for all quantities.
pub const ALL: &str = "*";

/// The fields that must match for a record to be reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash of the [`Method`].
    pub spec: String,
    /// Hash of the model's files.
    pub model: String,
    /// Hash of the texts.
    pub data: String,
    /// The backend and device, in the notation of `--device`.
    pub device: String,
    /// The type of the model's weights.
    pub dtype: String,
    /// The type of packed weights, if they are packed: `f32`, `bf16`, `int8` or
    /// `int4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
}

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// L.
    pub layers: usize,
    /// H.
    pub heads: usize,
    /// H·D.
    pub hidden_size: usize,
    /// Number of positions with embeddings.
    pub positions: usize,
    /// V.
    pub vocabulary: usize,
    /// Parameters.
    pub parameters: u64,
}

impl ModelInfo {
    /// The model called `name`.
    pub fn of(name: String, model: &Gpt2) -> Self {
        let config = model.config();
        Self {
            name,
            layers: config.n_layer,
            heads: config.n_head,
            hidden_size: config.n_embd,
            positions: config.n_positions,
            vocabulary: config.vocab_size,
            parameters: model.num_params() as u64,
        }
    }
}

/// How, where and from what a unit was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The command line.
    pub command: String,
    /// The commit of the program; `None` outside of a repository.
    pub commit: Option<Commit>,
    /// The version of this crate.
    pub version: String,
    /// The date, in UTC.
    pub date: String,
    /// The machine.
    pub machine: Machine,
    /// Threads of the thread pool.
    pub threads: usize,
    /// A description of the texts.
    pub texts: String,
    /// A description of the arms' calibration text.
    pub calibration: String,
}

/// One arm on one sample.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measurement {
    /// The arm's id.
    pub arm: String,
    /// A domain of texts, or [`RANDOM`].
    pub source: String,
    /// Tokens of the sequence.
    pub length: usize,
    /// The index of the sequence in its source.
    pub index: u64,
    /// Values by quantity.
    pub values: BTreeMap<String, f64>,
    /// Why a quantity has no value; `*` for all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
    /// 8-bit grey PNG images in base64, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// Texts read or written, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub texts: BTreeMap<String, String>,
}

impl Measurement {
    /// A measurement without values.
    pub fn new(arm: &str, source: &str, length: usize, index: u64) -> Self {
        Self {
            arm: arm.to_owned(),
            source: source.to_owned(),
            length,
            index,
            ..Self::default()
        }
    }

    /// The same with a reason why everything is missing.
    #[must_use]
    pub fn without_values(mut self, reason: impl Into<String>) -> Self {
        self.missing.insert(ALL.to_owned(), reason.into());
        self
    }

    /// Fills in what was found, or records why everything is missing.
    pub(crate) fn fill<T>(
        &mut self,
        found: Result<T, impl ToString>,
        fill: impl FnOnce(&mut Self, T),
    ) {
        match found {
            Ok(found) => fill(self, found),
            Err(reason) => self.without(ALL, reason.to_string()),
        }
    }

    /// Records why a quantity has no value.
    pub fn without(&mut self, quantity: impl Into<String>, reason: impl Into<String>) {
        self.missing.insert(quantity.into(), reason.into());
    }

    /// Sets a value, or records why there is none.
    pub(crate) fn put(&mut self, quantity: &str, found: Result<f64, String>) {
        match found {
            Ok(value) => self.set(quantity, value),
            Err(reason) => self.without(quantity, reason),
        }
    }

    /// Sets a value, rounded to nine significant digits; one that is not finite is recorded as
    /// missing.
    pub fn set(&mut self, quantity: impl Into<String>, value: f64) {
        let quantity = quantity.into();
        match format!("{value:.8e}").parse::<f64>() {
            Ok(rounded) if rounded.is_finite() => {
                self.values.insert(quantity, rounded);
            }
            _ => {
                self.without(quantity, format!("the result is not finite ({value})"));
            }
        }
    }

    /// Sets the values that exist.
    pub(crate) fn set_known<N: Into<String>>(
        &mut self,
        values: impl IntoIterator<Item = (N, Option<f64>)>,
    ) {
        for (quantity, value) in values {
            if let Some(value) = value {
                self.set(quantity, value);
            }
        }
    }

    /// Why `quantity` has no value here.
    pub(crate) fn reason(&self, quantity: &str) -> Option<&str> {
        let reason = self.missing.get(quantity).or(self.missing.get(ALL));
        reason.map(String::as_str)
    }
}

/// A finished unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// SHA-256 of the file without these digits; empty before it is written.
    #[serde(default)]
    pub checksum: String,
    /// The unit's id.
    pub unit: String,
    /// Its identity.
    pub identity: Identity,
    /// The method.
    pub method: Method,
    /// The model.
    pub model: ModelInfo,
    /// The conditions of the run.
    pub run: RunInfo,
    /// The duration.
    pub seconds: f64,
    /// Number of measured sequences.
    pub samples: usize,
    /// The results.
    pub measurements: Vec<Measurement>,
}

/// Selection of an arm's measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool<'a> {
    /// Texts of all domains.
    Texts,
    /// One source.
    Source(&'a str),
}

impl Pool<'_> {
    /// Whether measurements of this source are selected.
    pub fn has(self, source: &str) -> bool {
        match self {
            Self::Texts => source != RANDOM,
            Self::Source(own) => source == own,
        }
    }
}

/// The records of one experiment, and people's votes.
#[derive(Debug, Clone, Default)]
pub struct Records {
    records: Vec<Record>,
    votes: Vec<Vote>,
}

impl Records {
    /// Records in the order of their units.
    pub fn new(records: Vec<Record>) -> Self {
        Self {
            records,
            votes: Vec::new(),
        }
    }

    /// Adds the record of a later unit.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The same with votes, some of which may belong to other records.
    #[must_use]
    pub fn with_votes(mut self, votes: Vec<Vote>) -> Self {
        self.votes = votes;
        self
    }

    /// The votes, in order of time.
    pub fn votes(&self) -> &[Vote] {
        &self.votes
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// The first record, for what all have in common.
    pub fn first(&self) -> Option<&Record> {
        self.records.first()
    }

    /// Every measurement.
    pub fn measurements(&self) -> impl Iterator<Item = &Measurement> {
        self.iter().flat_map(|record| &record.measurements)
    }

    /// Measurements of one arm at one length.
    pub fn of<'a>(
        &'a self,
        arm: &'a str,
        from: Pool<'a>,
        length: usize,
    ) -> impl Iterator<Item = &'a Measurement> {
        self.measurements()
            .filter(move |one| one.arm == arm && one.length == length && from.has(&one.source))
    }

    /// An arm's quantity, one value per sample.
    pub fn values(&self, arm: &str, from: Pool<'_>, length: usize, quantity: &str) -> Vec<f64> {
        let all = self.of(arm, from, length);
        all.filter_map(|one| one.values.get(quantity).copied())
            .collect()
    }

    /// The distribution of a quantity over samples, or why there is none.
    ///
    /// # Errors
    ///
    /// The reason, as text for the reader.
    pub fn estimate(
        &self,
        arm: &str,
        from: Pool<'_>,
        length: usize,
        quantity: &str,
    ) -> Result<Estimate, String> {
        let mut reason = None;
        let mut values = Vec::new();
        for one in self.of(arm, from, length) {
            match one.values.get(quantity) {
                Some(&value) => values.push(value),
                None => reason = reason.or(one.reason(quantity)),
            }
        }
        Estimate::of(&values).ok_or_else(|| reason.unwrap_or("not measured yet").to_owned())
    }

    /// Every sample of an arm's quantity, by length; lengths without a value are omitted.
    pub fn levels(&self, arm: &str, from: Pool<'_>, quantity: &str) -> Vec<Level> {
        let of_arm = self.measurements().filter(|one| one.arm == arm);
        let lengths: BTreeSet<usize> = of_arm.map(|one| one.length).collect();
        let levels = lengths.into_iter().map(|length| Level {
            length,
            samples: self.values(arm, from, length, quantity),
        });
        levels.filter(|level| !level.samples.is_empty()).collect()
    }

    /// The distribution of the difference between `arm` and `other`, over the samples that both
    /// have; `None` without any.
    pub fn difference(
        &self,
        arm: &str,
        other: &str,
        from: Pool<'_>,
        length: usize,
        quantity: &str,
    ) -> Option<Estimate> {
        let rows = paired::rows(self, [arm, other], (from, length, quantity));
        let differences: Vec<f64> = rows.iter().map(|[own, other]| own - other).collect();
        Estimate::of(&differences)
    }

    /// Domains of the texts, in the order of measurement.
    pub fn domains(&self) -> Vec<&str> {
        let texts = self.measurements().filter(|one| one.source != RANDOM);
        each_once(texts.map(|one| one.source.as_str()))
    }
}

/// The first of each of equal things, in order.
pub(crate) fn each_once<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}
