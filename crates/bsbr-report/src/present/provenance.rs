//! The origin of records.

use crate::present::words::plural;
use crate::record::{Record, Records, each_once};
use crate::spec::Spec;

/// How and where the records were made; differing values are listed.
pub(super) fn of(spec: &Spec, records: &Records) -> Vec<(String, String)> {
    let each = |of: fn(&Record) -> String| each_once(records.iter().map(of)).join("; ");
    let seconds: f64 = records.iter().map(|record| record.seconds).sum();
    let samples: usize = records.iter().map(|record| record.samples).sum();
    let rows: [(&str, String); 11] = [
        ("Command", each(|r| r.run.command.clone())),
        (
            "Commit",
            each(|r| match &r.run.commit {
                Some(commit) => commit.describe(),
                None => "none".to_owned(),
            }),
        ),
        ("Date", each(|r| r.run.date.clone())),
        ("Machine", each(|r| r.run.machine.describe())),
        (
            "Device",
            each(|r| {
                let packed = r.identity.weights.as_ref();
                let packed = packed.map(|of| format!(", products in {of}"));
                format!(
                    "{}, {}{}, {}",
                    r.identity.device,
                    r.identity.dtype,
                    packed.unwrap_or_default(),
                    plural(r.run.threads as u64, "thread")
                )
            }),
        ),
        (
            "Model",
            each(|r| format!("{}, {}", r.model.name, short(&r.identity.model))),
        ),
        ("Texts", each(|r| r.run.texts.clone())),
        ("Calibration", each(|r| r.run.calibration.clone())),
        ("Seed", spec.method.seed.to_string()),
        (
            "Sequences",
            format!(
                "{samples} in {} units, {seconds:.0} s",
                records.iter().count()
            ),
        ),
        (
            "Specification",
            each(|r| format!("{}.toml, {}", r.method.experiment, short(&r.identity.spec))),
        ),
    ];
    rows.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn short(hash: &str) -> String {
    format!("SHA-256 {}…", hash.get(..12).unwrap_or(hash))
}
