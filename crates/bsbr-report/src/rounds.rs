//! Timing in interleaved rounds, so that a slowdown of the machine affects all contestants.

use std::time::Instant;

use bsbr_attention::{Attention, AttentionInput, Padding};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::module::Module;
use burn::tensor::{DType, Distribution, Tensor};

use crate::record::Measurement;

/// Runs once, and returns the seconds, or other values as well.
pub(crate) type Run<'a, T = f64> = Box<dyn Fn() -> Result<T, String> + 'a>;

/// A contestant of a timing.
pub(crate) struct Contestant<'a, T = f64> {
    /// Its id in records.
    pub id: String,
    /// Its run, or why there is none.
    pub run: Result<Run<'a, T>, String>,
}

/// The result of a run.
pub(crate) trait Outcome {
    /// The duration of the run.
    fn seconds(&self) -> f64;

    /// Sets its values.
    fn set(self, measured: &mut Measurement);
}

impl Outcome for f64 {
    fn seconds(&self) -> f64 {
        *self
    }

    fn set(self, measured: &mut Measurement) {
        measured.set("seconds", self);
    }
}

/// Waits until a device has computed a tensor. Some devices compute only when its data are read.
pub(crate) fn wait_for<const D: usize>(x: Tensor<D>) {
    std::hint::black_box(x.into_data().as_bytes().first());
}

/// A forward pass without a cache, to the logits of the last token.
pub(crate) fn model_run<'a>(model: Gpt2, ids: &[u32]) -> Result<Run<'a>, String> {
    let batch = TokenBatch::single(ids).map_err(|error| error.to_string())?;
    Ok(Box::new(move || {
        let start = Instant::now();
        let hidden = model
            .hidden_states(&batch)
            .map_err(|error| error.to_string())?;
        wait_for(model.last_logits(hidden));
        Ok(start.elapsed().as_secs_f64())
    }))
}

/// One layer's attention, from `input` to its last token's output.
pub(crate) fn attention_run<'a>(model: &Gpt2, input: AttentionInput) -> Run<'a> {
    // Every layer has the same arm, so the first represents all.
    let attention: Option<Attention> = model.h.first().map(|block| block.attn.bsbr.clone());
    Box::new(move || {
        let attention = attention.as_ref().ok_or("the model has no layer")?;
        let input = input.clone();
        let start = Instant::now();
        let output = attention.forward(input);
        let last = output.dims()[2].saturating_sub(1);
        wait_for(output.narrow(2, last, 1));
        Ok(start.elapsed().as_secs_f64())
    })
}

/// The same, followed by the gradients of queries, keys and values.
pub(crate) fn gradients_run<'a>(model: Gpt2, input: AttentionInput) -> Run<'a> {
    let normal = Distribution::Normal(0.0, 1.0);
    let (shape, dtype) = (input.query.dims(), input.query.dtype());
    let weight = Tensor::<4>::random(shape, normal, &input.query.device()).cast(dtype);
    let weight = Tensor::from_inner(weight);
    let tracked = AttentionInput {
        hidden_states: Tensor::from_inner(input.hidden_states),
        ..input
    };
    let model = model.train();
    let attention: Option<Attention> = model.h.first().map(|block| block.attn.bsbr.clone());
    Box::new(move || {
        let attention = attention.as_ref().ok_or("the model has no layer")?;
        let leaf = |x: &Tensor<4>| Tensor::from_inner(x.clone()).require_grad();
        let [query, key, value] = [&tracked.query, &tracked.key, &tracked.value].map(leaf);
        let leaves = [query.clone(), key.clone(), value.clone()];
        let input = AttentionInput {
            query,
            key,
            value,
            ..tracked.clone()
        };
        let start = Instant::now();
        let output = attention.forward(input);
        let grads = (output * weight.clone()).sum().backward();
        for leaf in leaves {
            let grad = leaf.grad(&grads).ok_or("there is no gradient")?;
            let last = grad.dims()[2].saturating_sub(1);
            wait_for(grad.narrow(2, last, 1));
        }
        Ok(start.elapsed().as_secs_f64())
    })
}

/// Normal queries, keys, values and attention input of a sequence, of one layer's size.
pub(crate) fn random_input(model: &Gpt2, length: usize, dtype: DType) -> AttentionInput {
    let config = model.config();
    let (device, heads) = (model.device(), config.n_head);
    let normal = Distribution::Normal(0.0, 1.0);
    let shape = [1, heads, length, config.head_dim()];
    let one = || Tensor::<4>::random(shape, normal, &device).cast(dtype);
    let hidden_states = Tensor::<3>::random([1, length, config.n_embd], normal, &device);
    AttentionInput {
        query: one(),
        key: one(),
        value: one(),
        hidden_states: hidden_states.cast(dtype),
        scale: config.attention_scale(0),
        padding: Padding::none(),
    }
}

/// The number of runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// Timed runs.
    pub runs: u64,
    /// The same for slow runs.
    pub slow_runs: u64,
    /// Runs longer than these seconds are slow.
    pub slow_seconds: f64,
}

impl Rounds {
    /// Sets `seconds` for every contestant in each round, and `speedup` over `reference` in the
    /// same round.
    pub(crate) fn run(
        self,
        contestants: &[Contestant<'_>],
        reference: Option<&str>,
        new: impl Fn(&str, u64) -> Measurement,
    ) -> Vec<Measurement> {
        let mut rounds = self.take_turns(contestants, |place, round| {
            new(&contestants[place].id, round)
        });
        for this in &mut rounds {
            let base = this.iter().find(|one| Some(one.arm.as_str()) == reference);
            let base = base.and_then(|one| one.values.get("seconds").copied());
            for one in this {
                if let (Some(base), Some(own)) = (base, one.values.get("seconds").copied()) {
                    one.set("speedup", base / own);
                }
            }
        }
        rounds.concat()
    }

    /// The measurements of each round; `new` is given the index of a contestant, and the round.
    pub(crate) fn take_turns<T: Outcome>(
        self,
        contestants: &[Contestant<'_, T>],
        new: impl Fn(usize, u64) -> Measurement,
    ) -> Vec<Vec<Measurement>> {
        // A first untimed run compiles, tunes and fills caches.
        let warm: Vec<Result<f64, String>> = contestants
            .iter()
            .map(|one| {
                let run = one.run.as_ref().map_err(Clone::clone);
                run.and_then(|run| run()).map(|found| found.seconds())
            })
            .collect();
        let runs = |seconds: f64| match seconds > self.slow_seconds {
            true => self.slow_runs.min(self.runs),
            false => self.runs,
        };
        let mut rounds = Vec::new();
        for round in 0..self.runs {
            let mut this: Vec<Option<Measurement>> = vec![None; contestants.len()];
            // The order rotates with each round, so cache effects of the previous run are shared
            // equally.
            for turn in 0..contestants.len() {
                let place = (turn + round as usize) % contestants.len();
                let one = &contestants[place];
                let mut measured = new(place, round);
                match (&warm[place], &one.run) {
                    (Ok(seconds), Ok(_)) if round >= runs(*seconds) => continue,
                    (Ok(_), Ok(run)) => match run() {
                        Ok(found) => found.set(&mut measured),
                        Err(reason) => measured = measured.without_values(reason),
                    },
                    (Err(reason), _) | (_, Err(reason)) => {
                        measured = measured.without_values(reason.clone());
                    }
                }
                this[place] = Some(measured);
            }
            rounds.push(this.into_iter().flatten().collect());
        }
        rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `times[k]` seconds when it is run for the k-th time, the untimed run included.
    fn contestant<'a>(id: &str, times: &'a [f64]) -> Contestant<'a> {
        let next = std::cell::Cell::new(0);
        let run = move || Ok(times[next.replace(next.get() + 1)]);
        Contestant {
            id: id.to_owned(),
            run: Ok(Box::new(run)),
        }
    }

    #[test]
    fn a_time_is_recorded_in_its_own_round_beside_the_reference_of_that_round() {
        let rounds = Rounds {
            runs: 4,
            slow_runs: 2,
            slow_seconds: 50.0,
        };
        // The last one is slow: it is timed in two rounds.
        let contestants = [
            contestant("dense", &[9.0, 2.0, 6.0, 12.0, 40.0]),
            contestant("arm", &[9.0, 1.0, 2.0, 3.0, 5.0]),
            contestant("slow", &[60.0, 8.0, 12.0]),
        ];
        let found = rounds.run(&contestants, Some("dense"), |id, round| {
            Measurement::new(id, "model", 8, round)
        });
        let found: Vec<_> = found
            .iter()
            .map(|one| {
                let [seconds, speedup] = ["seconds", "speedup"].map(|name| one.values[name]);
                (one.index, one.arm.as_str(), seconds, speedup)
            })
            .collect();
        let expected = [
            (0, "dense", 2.0, 1.0),
            (0, "arm", 1.0, 2.0),
            (0, "slow", 8.0, 0.25),
            (1, "dense", 6.0, 1.0),
            (1, "arm", 2.0, 3.0),
            (1, "slow", 12.0, 0.5),
            (2, "dense", 12.0, 1.0),
            (2, "arm", 3.0, 4.0),
            (3, "dense", 40.0, 1.0),
            (3, "arm", 5.0, 8.0),
        ];
        assert_eq!(found, expected);
    }
}
