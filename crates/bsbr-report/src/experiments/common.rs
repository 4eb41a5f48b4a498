//! Shared parts of experiments.

use bsbr_gpt2::{Gpt2, PositionExtension as Extension, TokenBatch};

use crate::error::ReportError;
use crate::experiment::{Units, batches};
use crate::lab::Lab;
use crate::record::Measurement;
use crate::rounds::{compare, wait_for};
use crate::spec::{ArmSpec, Spec, dense};

/// Tokens of the untimed pass before an arm's first sample.
const WARM_UP: usize = 64;

/// A model for each row, or why it is missing.
pub(super) type Models = Vec<Result<Gpt2, String>>;

/// What was made, or why it is missing.
pub(super) type Tried<T> = Result<Result<T, String>, ReportError>;

/// Texts of all domains, this many in all and per unit; if there are fewer texts than domains, the first domains have
/// one each.
pub(super) fn round_robin(lab: &Lab, length: usize, counts: [u64; 2], models: usize) -> Units {
    let [texts, per_unit] = counts;
    let domains = lab.corpus().domains();
    let turns = |at| (texts + (domains.len() - 1 - at) as u64) / domains.len() as u64;
    of_domains(lab, length, turns, per_unit, models)
}

/// The same number of texts of every domain, if it has so many, and texts per unit.
pub(super) fn of_each(lab: &Lab, length: usize, counts: [u64; 2], models: usize) -> Units {
    let [texts, per_unit] = counts;
    of_domains(lab, length, |_| texts, per_unit, models)
}

fn of_domains(
    lab: &Lab,
    length: usize,
    wanted: impl Fn(usize) -> u64,
    per_unit: u64,
    models: usize,
) -> Units {
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
pub(super) fn models(arms: &[ArmSpec], seed: u64, lab: &Lab, extension: Extension) -> Models {
    let model = |arm| lab.model_for_any_length(arm, seed, extension);
    arms.iter().map(model).collect()
}

/// Each arm's model, ready for timing, or why it is missing.
pub(super) fn ready_models(spec: &Spec, lab: &Lab, extension: Extension) -> Models {
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
pub(super) fn beside_dense(all: &mut [Measurement], arms: &[ArmSpec], quantities: &[&str]) {
    let Some(dense) = dense(arms) else { return };
    for quantity in quantities {
        let name = format!("{quantity}.minus_dense");
        compare(all, Ok(&dense.id), quantity, &name, |own, base| own - base);
    }
}
