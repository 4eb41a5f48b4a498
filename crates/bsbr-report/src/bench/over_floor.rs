//! Times beside what their operations and bytes would take at the machine's rates.

use bsbr_gpt2::Gpt2Config;

use crate::bench::floor::{Floor, attention_operations};
use crate::bench::select::{Measured, Round};
use crate::bench::{Place, Scope};

/// The shape of the model, as far as floors need it.
pub(super) fn config(measured: &Measured) -> Option<Gpt2Config> {
    let model = &measured.records().last()?.model;
    let text = format!(
        r#"{{"model_type": "gpt2", "vocab_size": {}, "n_positions": {}, "n_embd": {},
            "n_layer": {}, "n_head": {}}}"#,
        model.vocabulary, model.positions, model.hidden_size, model.layers, model.heads
    );
    Gpt2Config::from_json(&text).ok()
}

/// The arms whose operations can be counted: those of a whole model whose settings are known.
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

/// Time over the floor, round by round.
pub(super) fn over_floor(measured: &Measured, who: &str, length: usize) -> Vec<f64> {
    over_floor_and(measured, who, length, 0.0)
}

/// Time over the floor and what the arm's attention computes, round by round.
pub(super) fn over_own_floor(measured: &Measured, who: &str, length: usize) -> Vec<f64> {
    match attention(measured, who, length) {
        Some(operations) => over_floor_and(measured, who, length, operations),
        None => Vec::new(),
    }
}

/// Time over the floor and so many operations more, round by round.
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

/// What attention makes of the matrix products' rate, round by round.
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

/// Where the newest record is of.
pub(super) fn place(measured: &Measured) -> Place {
    let newest = measured.records().last();
    newest.map_or_else(Place::default, |record| record.place.clone())
}
