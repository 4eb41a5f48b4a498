//! A training step on random tokens, for timing.

use bsbr_convert::FloatType;
use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::{Gpt2, Gpt2Config};
use burn::tensor::Device;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::batch::{language_modelling, machine_threads, micro_batches, total_weight};
use crate::config::AdamW;
use crate::error::TrainError;
use crate::finetune::{StepPrecision, check_precision};
use crate::gradients::clip_global_norm;
use crate::init::init;
use crate::optimizer::{Optimizer, number_parameters};
use crate::positions::Positions;

/// Seed of weights and tokens.
const SEED: u64 = 0;

/// A model in AdamW training on a batch of random tokens.
pub struct MeasuredStep {
    /// `None` after a failed step.
    model: Option<Gpt2>,
    optimizer: Optimizer,
    windows: Vec<TrainWindow>,
    adamw: AdamW,
    device: Device,
    side_by_side: usize,
    precision: FloatType,
}

/// How a step divides its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// One micro-batch per thread of the machine.
    Threads,
    /// The whole batch at once, for devices with enough parallel units.
    Whole,
}

impl MeasuredStep {
    /// A new model, and a batch of `rows` windows of `window` inputs and as many targets, which a
    /// step divides by `division`.
    ///
    /// # Errors
    ///
    /// [`TrainError`] if the shape is invalid.
    pub fn new(
        config: &Gpt2Config,
        rows: usize,
        window: usize,
        division: Division,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let model = init(config, SEED, &device.clone().autodiff())?;
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let last = config.vocab_size.saturating_sub(1) as u32;
        let windows = (0..rows).map(|_| TrainWindow {
            ids: (0..=window).map(|_| rng.random_range(0..=last)).collect(),
            weights: vec![1.0; window],
        });
        let adamw = AdamW {
            learning_rate: 3e-4,
            beta_1: 0.9,
            beta_2: 0.95,
            weight_decay: 0.1,
            clip_norm: 1.0,
            ..AdamW::default()
        };
        Ok(Self {
            windows: windows.collect(),
            model: Some(number_parameters(model)),
            optimizer: Optimizer::adamw(&adamw),
            adamw,
            device: device.clone(),
            side_by_side: match division {
                Division::Threads => machine_threads(),
                Division::Whole => 1,
            },
            precision: FloatType::F32,
        })
    }

    /// The same step, computed in `precision`.
    ///
    /// # Errors
    ///
    /// [`TrainError`] if the device cannot train in it.
    pub fn in_precision(mut self, precision: FloatType) -> Result<Self, TrainError> {
        check_precision(precision, &self.device)?;
        self.precision = precision;
        Ok(self)
    }

    /// A complete step: forward, backward, clipping, update. Returns the mean cross entropy before
    /// the update, in nats, once the device has finished the step.
    ///
    /// # Errors
    ///
    /// [`TrainError`] if the model cannot read the batch, now or in an earlier step, or if the
    /// device fails.
    pub fn run(&mut self) -> Result<f64, TrainError> {
        let Some(model) = self.model.take() else {
            let message = "an earlier step failed; create a new one";
            return Err(TrainError::config("model", message));
        };
        let threads = self.side_by_side;
        let weight = total_weight(&self.windows);
        let micro_rows = self.windows.len().div_ceil(threads);
        let parts: Vec<_> = (0..).zip(self.windows.chunks(micro_rows)).collect();
        let precision = StepPrecision::new(self.precision, &model);
        let scale = precision.loss_scale();
        let (grads, losses) = micro_batches(&model, &parts, threads, |model, _, rows| {
            let lowered = precision.lowered(model);
            let model = lowered.as_ref().unwrap_or(model);
            let at = Positions::From(0);
            let (grads, mut losses) = language_modelling(model, rows, &at, weight / scale, false)?;
            losses.value /= scale;
            Ok((precision.raised(model, grads), losses))
        })?;
        // Weights that are shared would be copied before their update.
        drop(precision);
        let (grads, _) = clip_global_norm(&model, grads, self.adamw.clip_norm);
        self.model = Some(self.optimizer.step(model, grads, 1.0));
        self.device.sync().map_err(|error| TrainError::Device {
            message: error.to_string(),
        })?;
        Ok(losses.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses of steps on one batch.
    fn losses(division: Division, precision: FloatType, steps: usize) -> Vec<f64> {
        let text = r#"{"model_type": "gpt2", "vocab_size": 16, "n_positions": 8, "n_embd": 16,
                       "n_layer": 1, "n_head": 2}"#;
        let config = Gpt2Config::from_json(text).unwrap();
        let step = MeasuredStep::new(&config, 4, 8, division, &Device::default()).unwrap();
        let mut step = step.in_precision(precision).unwrap();
        (0..steps).map(|_| step.run().unwrap()).collect()
    }

    #[test]
    fn steps_on_one_batch_bring_its_loss_down() {
        let losses = losses(Division::Threads, FloatType::F32, 21);
        let (first, last) = (losses[0], losses[20]);
        assert!((first - 16f64.ln()).abs() < 0.3, "{first}");
        assert!(last < first - 0.02, "{first} → {last}");
    }

    /// Each step packs the weights that the one before has updated.
    #[test]
    fn a_loss_falls_in_bf16_as_in_single_precision() {
        if check_precision(FloatType::Bf16, &Device::default()).is_err() {
            return;
        }
        let [single, half] = [FloatType::F32, FloatType::Bf16]
            .map(|precision| losses(Division::Threads, precision, 21));
        assert_ne!(single, half);
        for (single, half) in single.iter().zip(&half) {
            assert!((single - half).abs() < 2e-3, "{half} for {single}");
        }
        assert!(half[20] < half[0] - 0.02);
    }

    #[test]
    fn steps_are_the_same_however_they_are_divided() {
        let [divided, whole] =
            [Division::Threads, Division::Whole].map(|one| losses(one, FloatType::F32, 3));
        for (divided, whole) in divided.iter().zip(&whole) {
            assert!((divided - whole).abs() < 1e-4, "{divided} or {whole}");
        }
    }
}
