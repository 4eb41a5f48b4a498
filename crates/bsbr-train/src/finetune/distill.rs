//! Distillation: learning the original's next-token distribution.

use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::Gpt2;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor, TensorData, activation};

use crate::batch::{Losses, Rows};
use crate::error::TrainError;
use crate::positions::Positions;
use crate::recompute::Pass;

/// Rows whose logits are in memory at one time.
const CHUNK: usize = 256;

/// Gradients of a micro-batch's share of
/// `mix · T² · KL(original ‖ model) + (1 − mix) · cross entropy`.
///
/// The model reads the windows at the second of `positions`, the original at the first.
pub(crate) fn distillation(
    model: &Gpt2,
    original: &Gpt2,
    windows: &[TrainWindow],
    [of_original, positions]: [&Positions; 2],
    total_weight: f64,
    (temperature, mix): (f64, f64),
    recompute: bool,
) -> Result<(GradientsParams, Losses), TrainError> {
    let rows = Rows::new(windows)?;
    let wanted = rows.hidden(original, of_original)?;
    let pass = Pass::new(model, &rows.inputs, positions, recompute)?;
    let hidden = pass.hidden.clone().cast(DType::F32);
    let table = model.output_table().cast(DType::F32);
    let mut losses = rows.answers(&hidden, model);
    let divergence = divergence(
        hidden.clone().inner(),
        table.clone().inner(),
        wanted,
        original.output_table(),
        &rows.weights,
        temperature,
    );
    // Carries the gradients that were computed chunk by chunk.
    let surrogate = (hidden.clone() * Tensor::from_inner(divergence.by_hidden)).sum()
        + (table.clone() * Tensor::from_inner(divergence.by_table)).sum();
    let entropy = rows.trained_cross_entropy(hidden, model);
    losses.value = (mix * divergence.value
        + (1.0 - mix) * f64::from(entropy.clone().into_scalar::<f32>()))
        / total_weight;
    let loss = surrogate * (mix / total_weight) + entropy * ((1.0 - mix) / total_weight);
    Ok((pass.backward(loss), losses))
}

struct Divergence {
    /// Σ weight · T² · KL, in nats.
    value: f64,
    /// Its gradient with respect to the hidden states. `[R, C]`
    by_hidden: Tensor<2>,
    /// Its gradient with respect to the output table. `[V, C]`
    by_table: Tensor<2>,
}

/// The weighted divergence and its gradients, with the logits of a chunk of rows at a time: the
/// gradient with respect to a logit is `weight · T · (p_model − p_original)`.
fn divergence(
    hidden: Tensor<2>,
    table: Tensor<2>,
    wanted: Tensor<2>,
    wanted_table: Tensor<2>,
    weights: &[f32],
    temperature: f64,
) -> Divergence {
    let [count, _] = hidden.dims();
    let device = hidden.device();
    let mut value = 0.0;
    let mut by_hidden = Vec::new();
    let mut by_table = table.zeros_like();
    for first in (0..count).step_by(CHUNK) {
        let len = CHUNK.min(count - first);
        let x = hidden.clone().narrow(0, first, len);
        let log_p = |x: Tensor<2>, table: &Tensor<2>| {
            activation::log_softmax(x.matmul(table.clone().transpose()) / temperature, 1)
        };
        let model = log_p(x.clone(), &table);
        let original = log_p(wanted.clone().narrow(0, first, len), &wanted_table);
        let data = TensorData::new(weights[first..first + len].to_vec(), [len, 1]);
        let weights: Tensor<2> = Tensor::from_data(data, &device);
        let p = original.clone().exp();
        let kl = (p.clone() * (original - model.clone())).sum_dim(1) * weights.clone();
        value += f64::from(kl.sum().into_scalar::<f32>()) * temperature * temperature;
        let by_logits = (model.exp() - p) * weights * temperature;
        by_table = by_table + by_logits.clone().transpose().matmul(x);
        by_hidden.push(by_logits.matmul(table.clone()));
    }
    Divergence {
        value,
        by_hidden: Tensor::cat(by_hidden, 0),
        by_table,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// Value and gradients are those of the formula, differentiated by Burn, at any temperature.
    #[test]
    fn gradients_are_those_of_the_formula_at_every_temperature() {
        let device = Device::default();
        let (count, size, vocabulary) = (CHUNK + 37, 6, 11);
        let random = |rows, scale| {
            Tensor::<2>::random([rows, size], Distribution::Normal(0.0, scale), &device)
        };
        let (hidden, table) = (random(count, 1.0), random(vocabulary, 1.0));
        let (wanted, wanted_table) = (random(count, 2.0), random(vocabulary, 1.0));
        let weights: Vec<f32> = (0..count).map(|at| [0.0, 1.0, 2.5][at % 3]).collect();
        for temperature in [0.5, 1.0, 2.0, 7.0] {
            let found = divergence(
                hidden.clone(),
                table.clone(),
                wanted.clone(),
                wanted_table.clone(),
                &weights,
                temperature,
            );
            let learned = |tensor: &Tensor<2>| {
                Tensor::<2>::from_data(tensor.to_data(), &device.clone().autodiff()).require_grad()
            };
            let (x, w) = (learned(&hidden), learned(&table));
            let constant = |tensor: Tensor<2>| Tensor::<2>::from_inner(tensor);
            let log_q =
                activation::log_softmax(x.clone().matmul(w.clone().transpose()) / temperature, 1);
            let log_p = activation::log_softmax(
                wanted.clone().matmul(wanted_table.clone().transpose()) / temperature,
                1,
            );
            let by_row: Tensor<2> =
                Tensor::from_data(TensorData::new(weights.clone(), [count, 1]), &device);
            let p = constant(log_p.clone().exp() * by_row);
            let loss = (p * (constant(log_p) - log_q)).sum() * (temperature * temperature);
            let value = f64::from(loss.clone().into_scalar::<f32>());
            assert!(
                (found.value - value).abs() < 1e-4 * value,
                "{} {value}",
                found.value
            );
            let grads = loss.backward();
            for (name, found, expected) in [
                ("hidden", found.by_hidden, x.grad(&grads).unwrap()),
                ("table", found.by_table, w.grad(&grads).unwrap()),
            ] {
                let largest = expected.clone().abs().max().into_scalar::<f32>();
                let error = (found - expected).abs().max().into_scalar::<f32>();
                // Sums of 300 products in f32.
                assert!(
                    error < 1e-4 * largest,
                    "{name} at {temperature}: {error} of {largest}"
                );
            }
        }
    }
}
