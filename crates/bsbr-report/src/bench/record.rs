//! The records of the benchmark.

use std::path::Path;

use bsbr_files::write_file;
use serde::{Deserialize, Serialize};

use crate::bench::place::Place;
use crate::error::ReportError;
use crate::host::{Commit, Machine};
use crate::record::{Measurement, ModelInfo};

/// Version of the record's format.
pub const FORMAT: u32 = 1;

/// A run: its command, machine and model, and every sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// The command line.
    pub command: String,
    /// The state of the sources; `None` outside of a repository.
    pub commit: Option<Commit>,
    /// The start of the run, in UTC.
    pub date: String,
    /// The machine.
    pub machine: Machine,
    /// The device and type.
    #[serde(default, skip_serializing_if = "Place::is_default")]
    pub place: Place,
    /// Threads of the thread pool, and of PyTorch.
    pub threads: usize,
    /// The requested number of timed rounds.
    pub runs: u64,
    /// The model.
    pub model: ModelInfo,
    /// The samples.
    pub series: Vec<Series>,
}

/// The samples of one contestant; sample number i is from round number i.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Series {
    /// The subject of the measurement: see [`Scope`](crate::bench::Scope).
    pub scope: String,
    /// The contestant: an arm, PyTorch, or a limit of the machine.
    pub who: String,
    /// The part, if there are several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
    /// Tokens per sequence.
    pub length: usize,
    /// The unit of a sample: `s`, `bytes` or `relative`.
    pub unit: String,
    /// Floating-point operations or bytes of a sample, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<f64>,
    /// The samples.
    pub samples: Vec<f64>,
    /// Why samples are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// The unit of seconds.
pub const SECONDS: &str = "s";
/// The unit of memory.
pub const BYTES: &str = "bytes";

impl Series {
    /// A series without samples.
    pub fn new(scope: &str, who: &str, length: usize, unit: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            who: who.to_owned(),
            length,
            unit: unit.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a sample, rounded to six significant digits, or the reason why it is missing. After
    /// such a reason nothing more is added, so sample number i stays that of round number i.
    pub fn push(&mut self, sample: Result<f64, String>) {
        if self.missing.is_some() {
            return;
        }
        match sample.map(|value| format!("{value:.5e}").parse::<f64>()) {
            Ok(Ok(value)) if value.is_finite() => self.samples.push(value),
            Ok(_) => self.missing = Some("the result is not finite".to_owned()),
            Err(reason) => self.missing = Some(reason),
        }
    }
}

/// The seconds of rounds as series, in the order of their first occurrence.
pub(super) fn from_rounds(measurements: &[Measurement]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for one in measurements {
        let known = all.iter().position(|series| series.who == one.arm);
        let at = known.unwrap_or_else(|| {
            all.push(Series::new(&one.source, &one.arm, one.length, SECONDS));
            all.len() - 1
        });
        match one.values.get("seconds") {
            Some(&seconds) => all[at].push(Ok(seconds)),
            None => {
                let reason = one.missing.values().next().cloned();
                all[at].push(Err(reason.unwrap_or_default()));
            }
        }
    }
    all
}

impl BenchRecord {
    /// A record of this machine and of this program's commit, without samples.
    pub fn begin(
        command: String,
        commit: Option<Commit>,
        model: ModelInfo,
        place: Place,
        runs: u64,
    ) -> Self {
        Self {
            format: FORMAT,
            command,
            commit,
            date: crate::host::now(),
            machine: Machine::this(),
            place,
            threads: rayon::current_num_threads(),
            runs,
            model,
            series: Vec::new(),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the file cannot be read or is not a record of this format.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let wrong = |message: String| ReportError::BenchRecord {
            path: path.to_owned(),
            message,
        };
        let text = crate::spec::read(path)?;
        let record: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match record.format {
            FORMAT => Ok(record),
            other => Err(wrong(format!("its form is {other}, expected {FORMAT}"))),
        }
    }

    /// Writes the record, with one series per line for readability.
    ///
    /// # Errors
    ///
    /// [`ReportError::Write`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        let head = Self {
            series: Vec::new(),
            ..self.clone()
        };
        let lines = self
            .series
            .iter()
            .map(|series| Ok(format!("    {}", serde_json::to_string(series)?)))
            .collect::<Result<Vec<_>, serde_json::Error>>()?;
        let head = serde_json::to_string_pretty(&head)?;
        let head = head.trim_end().trim_end_matches('}').trim_end();
        let head = head.trim_end_matches("[]");
        let text = format!("{head}[\n{}\n  ]\n}}\n", lines.join(",\n"));
        Ok(write_file(path, text.as_bytes())?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record of forward passes over 16 tokens.
    pub(in crate::bench) fn record(date: &str, samples: &[(&str, &[f64])]) -> BenchRecord {
        let model = ModelInfo {
            name: "tiny".to_owned(),
            layers: 1,
            heads: 1,
            hidden_size: 4,
            positions: 32,
            vocabulary: 8,
            parameters: 300,
        };
        BenchRecord {
            date: date.to_owned(),
            series: samples
                .iter()
                .map(|(who, samples)| Series {
                    samples: samples.to_vec(),
                    ..Series::new("model", who, 16, SECONDS)
                })
                .collect(),
            ..BenchRecord::begin("a test".to_owned(), None, model, Place::default(), 2)
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.json");
        let mut record = record(
            "2026-01-01",
            &[("dense", &[0.5, 0.25]), ("torch-sdpa", &[])],
        );
        record.series[1].push(Err("no torch".to_owned()));
        record.series[1].push(Ok(1.0));
        assert!(record.series[1].samples.is_empty());
        record.write(&path).unwrap();
        assert_eq!(BenchRecord::read(&path).unwrap(), record);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().filter(|line| line.contains("\"who\"")).count(),
            2
        );

        record.series.clear();
        record.write(&path).unwrap();
        assert_eq!(BenchRecord::read(&path).unwrap(), record);

        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
        let error = BenchRecord::read(&path).unwrap_err().to_string();
        assert!(error.contains("expected 1"), "{error}");
    }
}
