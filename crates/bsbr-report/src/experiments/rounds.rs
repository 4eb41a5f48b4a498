//! Timing in rounds, so that what slows a machine down slows everybody down.

use std::time::Instant;

use bsbr_gpt2::{Gpt2, TokenBatch};

use crate::record::Measurement;

/// Runs once, and gives the seconds taken.
pub(super) type Run<'a> = Box<dyn Fn() -> Result<f64, String> + 'a>;

/// Who is timed.
pub(super) struct Contestant<'a> {
    /// What records call it.
    pub id: String,
    /// A run of it, or why there is none.
    pub run: Result<Run<'a>, String>,
}

/// A forward pass without a cache, to the logits of the last token.
pub(super) fn model_run<'a>(model: Gpt2, ids: &[u32]) -> Result<Run<'a>, String> {
    let batch = TokenBatch::single(ids).map_err(|error| error.to_string())?;
    Ok(Box::new(move || {
        let start = Instant::now();
        let hidden = model
            .hidden_states(&batch)
            .map_err(|error| error.to_string())?;
        // Reading the result back waits for the device.
        let _ = model.last_logits(hidden).into_data();
        Ok(start.elapsed().as_secs_f64())
    }))
}

/// How often everybody runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    /// Timed runs.
    pub runs: u64,
    /// The same where a run is slow.
    pub slow_runs: u64,
    /// Seconds of a run beyond which it is slow.
    pub slow_seconds: f64,
}

impl Rounds {
    /// Sets `seconds` for everybody in each round, and `speedup` over `reference` in the same one.
    pub(super) fn run(
        self,
        contestants: &[Contestant<'_>],
        reference: Option<&str>,
        new: impl Fn(&str, u64) -> Measurement,
    ) -> Vec<Measurement> {
        // A first run that is not timed: it compiles, tunes and fills caches.
        let warm: Vec<Result<f64, String>> = contestants
            .iter()
            .map(|one| one.run.as_ref().map_err(Clone::clone).and_then(|run| run()))
            .collect();
        let runs = |seconds: f64| match seconds > self.slow_seconds {
            true => self.slow_runs.min(self.runs),
            false => self.runs,
        };
        let mut measurements = Vec::new();
        for round in 0..self.runs {
            let mut this: Vec<Option<Measurement>> = vec![None; contestants.len()];
            // Everybody goes first once: what a run leaves in caches helps and hurts all alike.
            for turn in 0..contestants.len() {
                let place = (turn + round as usize) % contestants.len();
                let one = &contestants[place];
                let mut measured = new(&one.id, round);
                match (&warm[place], &one.run) {
                    (Ok(seconds), Ok(_)) if round >= runs(*seconds) => continue,
                    (Ok(_), Ok(run)) => match run() {
                        Ok(seconds) => measured.set("seconds", seconds),
                        Err(reason) => measured = measured.without_values(reason),
                    },
                    (Err(reason), _) | (_, Err(reason)) => {
                        measured = measured.without_values(reason.clone());
                    }
                }
                this[place] = Some(measured);
            }
            let mut this: Vec<Measurement> = this.into_iter().flatten().collect();
            let base = this.iter().find(|one| Some(one.arm.as_str()) == reference);
            let base = base.and_then(|one| one.values.get("seconds").copied());
            for one in &mut this {
                if let (Some(base), Some(own)) = (base, one.values.get("seconds").copied()) {
                    one.set("speedup", base / own);
                }
            }
            measurements.append(&mut this);
        }
        measurements
    }
}
