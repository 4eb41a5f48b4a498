//! The record of a run of the benchmark, in the form of all records.

use crate::bench::benchmark::SEED;
use crate::bench::{Place, machine};
use crate::error::ReportError;
use crate::host::{Commit, Machine, now};
use crate::record::{FORMAT, Identity, ModelInfo, RANDOM, Record, RunInfo};
use crate::spec::{ArmSpec, Method};

/// The name of the benchmark in records and claims.
pub const BENCH: &str = "bench";

/// Version of the method.
const VERSION: u32 = 1;

/// The measured model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its description.
    pub info: ModelInfo,
    /// Hash of its files, or of its configuration if its weights are random.
    pub hash: String,
}

/// The settings of the method: the rows of the matrix products.
pub(super) fn settings(rows: usize) -> toml::Table {
    toml::toml! { product_rows = (rows as i64) }
}

/// A record of this machine without measurements, of at most `runs` timed rounds.
///
/// # Errors
///
/// [`ReportError::Json`] if the method has no JSON form.
pub fn begin(
    command: String,
    commit: Option<Commit>,
    model: Model,
    place: &Place,
    arms: Vec<ArmSpec>,
    runs: u64,
) -> Result<Record, ReportError> {
    let method = Method {
        experiment: BENCH.to_owned(),
        version: VERSION,
        seed: SEED,
        arms,
        settings: settings(machine::rows(place)),
        counts: toml::toml! { runs = (runs as i64) },
        quick: false,
    };
    Ok(Record {
        format: FORMAT,
        checksum: String::new(),
        unit: BENCH.to_owned(),
        identity: Identity {
            spec: method.hash()?,
            model: model.hash,
            data: String::new(),
            device: place.device.clone(),
            dtype: place.dtype.clone(),
            weights: None,
        },
        method,
        model: model.info,
        run: RunInfo {
            command,
            commit,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            date: now(),
            machine: Machine {
                accelerator: place.accelerator.clone(),
                ..Machine::this()
            },
            threads: rayon::current_num_threads(),
            texts: RANDOM.to_owned(),
            calibration: RANDOM.to_owned(),
        },
        seconds: 0.0,
        samples: 0,
        measurements: Vec::new(),
    })
}
