//! Shared parts of experiments.

use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};

use crate::error::ReportError;
use crate::experiment::{Unit, batches};
use crate::lab::Lab;
use crate::record::Measurement;
use crate::rounds::{compare, wait_for};
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
    let turns = |at| (texts + (domains.len() - 1 - at) as u64) / domains.len() as u64;
    of_domains(lab, length, turns, per_unit, models)
}

/// The same number of texts of every domain, if it has so many, as units.
pub(super) fn of_each(
    lab: &Lab,
    length: usize,
    texts: u64,
    per_unit: u64,
    models: usize,
) -> Result<Vec<Unit>, ReportError> {
    of_domains(lab, length, |_| texts, per_unit, models)
}

fn of_domains(
    lab: &Lab,
    length: usize,
    wanted: impl Fn(usize) -> u64,
    per_unit: u64,
    models: usize,
) -> Result<Vec<Unit>, ReportError> {
    let mut units = Vec::new();
    for (at, domain) in lab.corpus().domains().iter().enumerate() {
        // A domain that is not needed may have no text of this length.
        let count = match wanted(at) {
            0 => 0,
            wanted => lab.corpus().available(domain, length, wanted)?,
        };
        units.extend(batches(domain, length, count, per_unit, models));
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

/// Sets `quantity.minus_dense` for each measurement of one sample, relative to the dense arm.
pub(super) fn beside_dense(
    measurements: &mut [Measurement],
    arms: &[ArmSpec],
    quantities: &[&str],
) {
    let Some(dense) = dense(arms) else { return };
    for quantity in quantities {
        let name = format!("{quantity}.minus_dense");
        compare(
            measurements,
            Ok(&dense.id),
            quantity,
            &name,
            |own, dense| own - dense,
        );
    }
}
