//! Times compared with the time of their operations and bytes at the machine's rates.

use bsbr_gpt2::Gpt2Config;

use crate::bench::floor::{Floor, attention_operations};
use crate::bench::select::{Measured, Round};
use crate::bench::{Place, Scope};

/// The shape of the model, as far as floors depend on it.
pub(super) fn config(measured: &Measured) -> Option<Gpt2Config> {
    let model = &measured.records().last()?.model;
    let text = format!(
        r#"{{"model_type": "gpt2", "vocab_size": {}, "n_positions": {}, "n_embd": {},
            "n_layer": {}, "n_head": {}}}"#,
        model.vocabulary, model.positions, model.hidden_size, model.layers, model.heads
    );
    Gpt2Config::from_json(&text).ok()
}

/// The arms whose operations can be counted: those of a whole model with known settings.
pub(super) fn counted(measured: &Measured, scope: Scope) -> Vec<&str> {
    match scope {
        Scope::Model => {
            let mut who = measured.who(scope);
            who.retain(|who| measured.arm(who).is_some());
            who
        }
        _ => Vec::new(),
    }
}

/// Operations of an arm's attention, in all layers.
pub(super) fn attention(measured: &Measured, who: &str, length: usize) -> Option<f64> {
    let config = config(measured)?;
    let arm = measured.arm(who)?;
    Some(config.n_layer as f64 * attention_operations(&config, arm, length))
}

/// Time divided by the floor, per round.
pub(super) fn over_floor(measured: &Measured, who: &str, length: usize) -> Vec<f64> {
    over_floor_and(measured, who, length, 0.0)
}

/// Time divided by the floor plus the operations of the arm's attention, per round.
pub(super) fn over_own_floor(measured: &Measured, who: &str, length: usize) -> Vec<f64> {
    match attention(measured, who, length) {
        Some(operations) => over_floor_and(measured, who, length, operations),
        None => Vec::new(),
    }
}

/// Time divided by the floor plus additional operations, per round.
fn over_floor_and(measured: &Measured, who: &str, length: usize, more: f64) -> Vec<f64> {
    let Some(config) = config(measured) else {
        return Vec::new();
    };
    let floor = Floor::of(&config, length, place(measured).dtype().size());
    let rounds = measured.rounds(Scope::Model, who, length);
    let ratio = |round: &Round| {
        let operations = floor.operations / round.product;
        let bytes = round.copy.map_or(0.0, |rate| floor.bytes / rate);
        round.seconds / (operations.max(bytes) + more / round.product)
    };
    rounds.iter().map(ratio).collect()
}

/// The rate of attention relative to that of matrix products, per round.
pub(super) fn share_of_rate(
    measured: &Measured,
    scope: Scope,
    who: &str,
    length: usize,
) -> Vec<f64> {
    let rounds = measured.rounds(scope, who, length);
    let share = |round: &Round| round.work / round.seconds / round.product;
    rounds.iter().map(share).collect()
}

/// The device of the newest record.
pub(super) fn place(measured: &Measured) -> Place {
    let newest = measured.records().last();
    newest.map_or_else(Place::default, |record| record.place.clone())
}
