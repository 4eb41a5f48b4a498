//! Training steps on random ids.

use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::Gpt2;
use bsbr_train::config::AdamW;
use bsbr_train::gradients::{clip_global_norm, of_next_tokens};
use bsbr_train::optimizer::Optimizer;
use burn::module::Module;

/// A model and its optimiser.
pub struct Training {
    /// `None` after a failed step.
    model: Option<Gpt2>,
    optimizer: Optimizer,
    config: AdamW,
    recompute: bool,
}

impl Training {
    /// Trains every weight of `model` with AdamW.
    pub fn new(model: Gpt2, recompute: bool) -> Self {
        let config = AdamW::default();
        Self {
            model: Some(model.train()),
            optimizer: Optimizer::adamw(&config),
            config,
            recompute,
        }
    }

    /// One step on one window: all tokens except the last are inputs, and each predicts the
    /// next.
    ///
    /// # Errors
    ///
    /// Why it failed, in words.
    pub fn step(&mut self, ids: Vec<u32>) -> Result<(), String> {
        let model = self.model.take().ok_or("an earlier step failed")?;
        let weights = vec![1.0; ids.len().saturating_sub(1)];
        let window = TrainWindow { ids, weights };
        let (grads, loss) =
            of_next_tokens(&model, &[window], self.recompute).map_err(|error| error.to_string())?;
        let (grads, norm) = clip_global_norm(&model, grads, self.config.clip_norm);
        if !(loss.is_finite() && norm.is_finite()) {
            return Err(format!(
                "the loss is {loss}, and the norm of the gradients is {norm}"
            ));
        }
        self.model = Some(self.optimizer.step(model, grads, 1.0));
        Ok(())
    }
}
