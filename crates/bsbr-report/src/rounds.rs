//! Interleaved rounds of measurements, so that a slowdown of the machine affects all cases.

use std::time::Instant;

use bsbr_attention::{Attention, AttentionInput, Padding};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::module::Module;
use burn::tensor::{DType, Distribution, Tensor};

use crate::record::Measurement;

/// The seconds of a run.
pub(crate) const SECONDS: &str = "seconds";

/// Runs once, and fills a measurement.
pub(crate) type Run<'a> = Box<dyn Fn(&mut Measurement) -> Result<(), String> + 'a>;

/// Runs once, and returns one value, usually the seconds.
pub(crate) type Timing<'a> = Box<dyn Fn() -> Result<f64, String> + 'a>;

/// A case of rounds.
pub(crate) struct Case<'a> {
    /// Its id in records.
    pub id: String,
    /// Tokens.
    pub length: usize,
    /// Its run, which fails if there is none.
    pub run: Run<'a>,
}

impl<'a> Case<'a> {
    /// A case whose runs fill measurements.
    pub(crate) fn new(
        id: impl Into<String>,
        length: usize,
        run: impl Fn(&mut Measurement) -> Result<(), String> + 'a,
    ) -> Self {
        Self {
            id: id.into(),
            length,
            run: Box::new(run),
        }
    }

    /// A case whose runs set one quantity.
    pub(crate) fn of(
        quantity: &'static str,
        id: impl Into<String>,
        length: usize,
        run: Result<Timing<'a>, String>,
    ) -> Self {
        Self::new(id, length, move |one| {
            one.set(quantity, run.as_ref().map_err(Clone::clone)?()?);
            Ok(())
        })
    }

    /// The same for `seconds`.
    pub(crate) fn timed(
        id: impl Into<String>,
        length: usize,
        run: Result<Timing<'a>, String>,
    ) -> Self {
        Self::of(SECONDS, id, length, run)
    }

    /// The same, whose runs begin and end with what `around` does.
    pub(crate) fn map(
        self,
        around: impl Fn(&mut Measurement, &Run<'a>) -> Result<(), String> + 'a,
    ) -> Self {
        let run = self.run;
        Self {
            run: Box::new(move |one| around(one, &run)),
            ..self
        }
    }

    /// The same with a value that all runs have.
    pub(crate) fn with(self, quantity: &'static str, value: f64) -> Self {
        self.map(move |one, run| {
            run(one)?;
            one.set(quantity, value);
            Ok(())
        })
    }
}

/// Waits until a device has computed a tensor. Some devices compute only when its data are read.
pub(crate) fn wait_for<const D: usize>(x: Tensor<D>) {
    std::hint::black_box(x.into_data().as_bytes().first());
}

/// A forward pass without a cache, to the logits of the last token.
pub(crate) fn model_run<'a>(model: Gpt2, ids: &[u32]) -> Result<Timing<'a>, String> {
    let batch = TokenBatch::single(ids).map_err(|error| error.to_string())?;
    Ok(Box::new(move || {
        let start = Instant::now();
        let hidden = model.hidden_states(&batch);
        wait_for(model.last_logits(hidden.map_err(|error| error.to_string())?));
        Ok(start.elapsed().as_secs_f64())
    }))
}

/// One layer's attention, from `input` to its last token's output.
pub(crate) fn attention_run<'a>(model: &Gpt2, input: AttentionInput) -> Timing<'a> {
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
pub(crate) fn gradients_run<'a>(model: Gpt2, input: AttentionInput) -> Timing<'a> {
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
    /// Rounds.
    pub runs: u64,
    /// The same for slow runs.
    pub slow_runs: u64,
    /// Runs longer than these seconds are slow.
    pub slow_seconds: f64,
    /// Whether a first run is not counted: it compiles, tunes and fills caches.
    pub warm_up: bool,
}

impl Rounds {
    /// Timed rounds, all of which have all cases.
    pub(crate) fn timed(runs: u64) -> Self {
        Self {
            runs,
            slow_runs: runs,
            slow_seconds: f64::INFINITY,
            warm_up: true,
        }
    }

    /// Rounds of processes or sizes, which need no warm-up.
    pub(crate) fn plain(runs: u64) -> Self {
        Self {
            warm_up: false,
            ..Self::timed(runs)
        }
    }

    /// The measurements of each round. A case that failed does not run again.
    pub(crate) fn run(self, cases: &[Case<'_>], source: &str) -> Vec<Vec<Measurement>> {
        let new = |one: &Case<'_>, round| Measurement::new(&one.id, source, one.length, round);
        let warm = |one: &Case<'_>| match self.warm_up {
            true => (one.run)(&mut new(one, 0)),
            false => Ok(()),
        };
        let mut states: Vec<Result<(), String>> = cases.iter().map(warm).collect();
        let mut slow = vec![false; cases.len()];
        let mut rounds = Vec::new();
        for round in 0..self.runs {
            let mut this: Vec<Option<Measurement>> = vec![None; cases.len()];
            // The order rotates with each round, so cache effects of the previous run are shared
            // equally.
            for turn in 0..cases.len() {
                let place = (turn + round as usize) % cases.len();
                if slow[place] && round >= self.slow_runs {
                    continue;
                }
                let mut measured = new(&cases[place], round);
                let start = Instant::now();
                if states[place].is_ok() {
                    states[place] = (cases[place].run)(&mut measured);
                }
                slow[place] |= start.elapsed().as_secs_f64() > self.slow_seconds;
                if let Err(reason) = &states[place] {
                    measured = measured.without_values(reason.clone());
                }
                this[place] = Some(measured);
            }
            rounds.push(this.into_iter().flatten().collect());
        }
        rounds
    }

    /// The same in one list, with the `speedup` over a reference in the same round.
    pub(crate) fn speedups(
        self,
        cases: &[Case<'_>],
        source: &str,
        reference: Option<&str>,
    ) -> Vec<Measurement> {
        let mut rounds = self.run(cases, source);
        if let Some(base) = reference {
            let speedup = |own: f64, other: f64| other / own;
            let rounds = rounds.iter_mut();
            rounds.for_each(|this| compare(this, Ok(base), SECONDS, "speedup", speedup));
        }
        rounds.concat()
    }
}

/// Sets `name` for all measurements of a round or sample: `of` their own `quantity` and that of
/// `reference`, or the reason why there is none.
pub(crate) fn compare(
    round: &mut [Measurement],
    reference: Result<&str, &str>,
    quantity: &str,
    name: &str,
    of: fn(f64, f64) -> f64,
) {
    let base = reference.map_err(str::to_owned).and_then(|id| {
        let base = round.iter().find(|one| one.arm == id);
        let base = base.and_then(|one| one.values.get(quantity).copied());
        base.ok_or_else(|| format!("{id} has no {quantity}"))
    });
    for one in round {
        if let Some(own) = one.values.get(quantity).copied() {
            one.put(name, base.clone().map(|base| of(own, base)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// Says that it takes `times[k]` seconds when it is run for the k-th time, the untimed run
    /// included; if it is slow, its runs take 250 ms.
    fn case<'a>(id: &str, slow: bool, times: &'a [f64]) -> Case<'a> {
        let next = Cell::new(0);
        let run: Timing<'a> = Box::new(move || {
            if slow {
                std::thread::sleep(Duration::from_millis(250));
            }
            let time = times.get(next.replace(next.get() + 1));
            time.copied().ok_or_else(|| "it has ended".to_owned())
        });
        Case::timed(id, 8, Ok(run)).with("work", 4.0)
    }

    #[test]
    fn a_time_is_recorded_in_its_own_round_beside_the_reference_of_that_round() {
        let rounds = Rounds {
            slow_runs: 2,
            slow_seconds: 0.2,
            ..Rounds::timed(4)
        };
        // The slow one is timed in two rounds.
        let cases = [
            case("dense", false, &[9.0, 2.0, 6.0, 12.0, 40.0]),
            case("arm", false, &[9.0, 1.0, 2.0, 3.0, 5.0]),
            case("slow", true, &[60.0, 8.0, 12.0]),
        ];
        let found = rounds.speedups(&cases, "model", Some("dense"));
        let found: Vec<_> = found
            .iter()
            .map(|one| {
                assert_eq!(one.values["work"], 4.0);
                let [seconds, speedup] = [SECONDS, "speedup"].map(|name| one.values[name]);
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

    #[test]
    fn a_case_that_failed_does_not_run_again() {
        let runs = Cell::new(0);
        let failing = Case::new("failing", 8, |_| {
            runs.set(runs.get() + 1);
            Err("out of memory".to_owned())
        });
        let mut found = Rounds::plain(3).run(&[failing, case("arm", false, &[1.0; 3])], "model");
        assert_eq!(runs.get(), 1);
        for round in &mut found {
            assert_eq!(round[0].reason(SECONDS), Some("out of memory"));
            compare(round, Ok("failing"), SECONDS, "by", |own, other| {
                own / other
            });
            assert_eq!(round[1].missing["by"], "failing has no seconds");
        }
    }
}
