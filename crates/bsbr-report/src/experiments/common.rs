//! Shared parts of experiments.

use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};

use crate::error::ReportError;
use crate::experiment::{Unit, batches};
use crate::lab::Lab;
use crate::record::Measurement;
use crate::rounds::wait_for;
use crate::spec::{ArmSpec, Spec, dense};

/// Tokens of the untimed pass before an arm's first sample.
const WARM_UP: usize = 64;

/// Texts of all domains as units; if there are fewer texts than domains, the first domains have
/// one each.
pub(super) fn in_turns(
    lab: &Lab,
    length: usize,
    texts: u64,
    per_unit: u64,
    models: usize,
) -> Result<Vec<Unit>, ReportError> {
    let domains = lab.corpus().domains();
    let mut units = Vec::new();
    for (at, domain) in domains.iter().enumerate() {
        let turns = (texts + (domains.len() - 1 - at) as u64) / domains.len() as u64;
        let count = match turns {
            0 => 0,
            turns => lab.corpus().available(domain, length, turns)?,
        };
        units.extend(batches(domain, length, count, per_unit, models));
    }
    Ok(units)
}

/// The index of the dense model among arms.
pub(super) fn dense_place(arms: &[ArmSpec]) -> Option<usize> {
    let dense = dense(arms)?;
    arms.iter().position(|arm| arm.id == dense.id)
}

/// The same number of texts of every domain, if it has so many, as units.
pub(super) fn of_each(
    lab: &Lab,
    length: usize,
    texts: u64,
    per_unit: u64,
    models: usize,
) -> Result<Vec<Unit>, ReportError> {
    let mut units = Vec::new();
    for domain in lab.corpus().domains() {
        let count = lab.corpus().available(&domain, length, texts)?;
        units.extend(batches(&domain, length, count, per_unit, models));
    }
    Ok(units)
}

/// Each arm's model for texts of any length, or why it is missing.
pub(super) fn models(
    arms: &[ArmSpec],
    seed: u64,
    lab: &Lab,
    extension: PositionExtension,
) -> Vec<Result<Gpt2, String>> {
    let model = |arm| lab.model_for_any_length(arm, seed, extension);
    arms.iter().map(model).collect()
}

/// Each arm's model, ready for timing, or why it is missing.
pub(super) fn ready_models(
    spec: &Spec,
    lab: &Lab,
    extension: PositionExtension,
) -> Vec<Result<Gpt2, String>> {
    let warm = TokenBatch::single(&[0; WARM_UP]);
    let ready = |model: Result<Gpt2, String>| {
        let model = model?;
        let warm = warm.as_ref().map_err(ToString::to_string)?;
        // What a model cannot read is reported for each sample.
        let _ = model
            .hidden_states(warm)
            .map(|hidden| wait_for(model.last_logits(hidden)));
        Ok(model)
    };
    let models = models(&spec.method.arms, spec.method.seed, lab, extension);
    models.into_iter().map(ready).collect()
}

/// The dense arm's measurement among those of one sample.
pub(super) fn of_dense<'a>(
    measurements: &'a [Measurement],
    arms: &[ArmSpec],
) -> Option<&'a Measurement> {
    let dense = dense(arms)?;
    measurements.iter().find(|one| one.arm == dense.id)
}

/// Sets `name` for each measurement of one sample, from its value of `quantity` and that of `base`.
pub(super) fn relative(
    measurements: &mut [Measurement],
    base: &str,
    [quantity, name]: [&str; 2],
    of: impl Fn(f64, f64) -> f64,
) {
    let value = |one: &Measurement| one.values.get(quantity).copied();
    let mut all = measurements.iter();
    let base = all.find(|one| one.arm == base).and_then(value);
    for one in measurements {
        if let (Some(own), Some(base)) = (value(one), base) {
            one.set(name, of(own, base));
        }
    }
}

/// Sets `quantity.minus_dense` for each measurement of one sample, relative to the dense arm.
pub(super) fn beside_dense(
    measurements: &mut [Measurement],
    arms: &[ArmSpec],
    quantities: &[&str],
) {
    let Some(dense) = of_dense(measurements, arms).cloned() else {
        return;
    };
    for one in measurements {
        for &quantity in quantities {
            let name = format!("{quantity}.minus_dense");
            match (one.values.get(quantity), dense.values.get(quantity)) {
                (Some(own), Some(reference)) => one.set(name, own - reference),
                (Some(_), None) => one.without(name, "the dense model has no value here"),
                (None, _) => {}
            }
        }
    }
}
