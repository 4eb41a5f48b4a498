//! Gradients of a whole model: of a loss, summed over micro-batches, and clipped by their global
//! norm.

use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::Gpt2;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use crate::batch::{language_modelling, total_weight};
use crate::error::TrainError;
use crate::positions::Positions;

/// Gradients of the mean next-token cross entropy over windows of one length, and the mean itself
/// in nats: the computation of a training step.
///
/// With `recompute`, the backward pass computes each block a second time, so memory holds the
/// activations of one block instead of all. The gradients are the same.
///
/// # Errors
///
/// [`TrainError::Input`] if the model cannot take the windows.
pub fn of_next_tokens(
    model: &Gpt2,
    windows: &[TrainWindow],
    recompute: bool,
) -> Result<(GradientsParams, f64), TrainError> {
    let weight = total_weight(windows).max(f64::MIN_POSITIVE);
    let (grads, losses) =
        language_modelling(model, windows, &Positions::From(0), weight, recompute)?;
    Ok((grads, losses.value))
}

/// Adds `new` to `total`, parameter by parameter.
pub fn accumulate<M: Module>(
    module: &M,
    total: Option<GradientsParams>,
    new: GradientsParams,
) -> GradientsParams {
    match total {
        None => new,
        Some(total) => {
            let mut sum = Sum { total, new };
            module.visit(&mut sum);
            sum.total
        }
    }
}

/// Scales the gradients so that their global norm is at most `max_norm`; returns the original
/// norm.
///
/// The norm covers all gradients together, like PyTorch's `clip_grad_norm_`; Burn's own clipping
/// limits each tensor separately.
pub fn clip_global_norm<M: Module>(
    module: &M,
    grads: GradientsParams,
    max_norm: f64,
) -> (GradientsParams, f64) {
    let mut norm = SquaredNorm {
        grads: &grads,
        sum: 0.0,
    };
    module.visit(&mut norm);
    let total = norm.sum.sqrt();
    if total <= max_norm || !total.is_finite() {
        return (grads, total);
    }
    (scaled(module, grads, max_norm / total), total)
}

/// The gradients as f32, multiplied by `factor`.
pub(crate) fn scaled<M: Module>(
    module: &M,
    grads: GradientsParams,
    factor: f64,
) -> GradientsParams {
    let mut scale = Scale { grads, factor };
    module.visit(&mut scale);
    scale.grads
}

struct Sum {
    total: GradientsParams,
    new: GradientsParams,
}

impl ModuleVisitor for Sum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(new) = self.new.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.total.remove::<D>(param.id) {
            Some(old) => old + new,
            None => new,
        };
        self.total.register(param.id, sum);
    }
}

struct SquaredNorm<'a> {
    grads: &'a GradientsParams,
    sum: f64,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let square: f32 = (grad.clone() * grad).sum().into_scalar();
            let square = f64::from(square);
            self.sum += square;
        }
    }
}

struct Scale {
    grads: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let grad = grad.cast(DType::F32) * self.factor;
            self.grads.register(param.id, grad);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bsbr_gpt2::Conv1d;
    use burn::tensor::{Device, TensorData};

    fn layer(device: &Device) -> Conv1d {
        Conv1d::zeros(2, 3, device)
    }

    fn grads(layer: &Conv1d, device: &Device, factor: f64) -> GradientsParams {
        let x: Tensor<3> = Tensor::from_data(
            TensorData::new(vec![1.0f32, 2.0, 3.0, 4.0], [1, 2, 2]),
            device,
        );
        let loss = (layer.forward(x) * factor).sum();
        GradientsParams::from_grads(loss.backward(), layer)
    }

    #[test]
    fn two_micro_batches_sum() {
        let device = Device::flex().autodiff();
        let layer = layer(&device);
        let twice = accumulate(
            &layer,
            Some(grads(&layer, &device, 1.0)),
            grads(&layer, &device, 2.0),
        );
        let whole = grads(&layer, &device, 3.0);
        let [twice, whole] = [twice, whole].map(|g| {
            g.get::<2>(layer.weight.id)
                .map(|t| t.into_data().iter::<f32>().collect::<Vec<_>>())
                .unwrap()
        });
        assert_eq!(twice, whole);
    }

    #[test]
    fn clipping_bounds_the_norm_of_all_gradients_together() {
        let device = Device::flex().autodiff();
        let layer = layer(&device);
        // Weight gradients are 4 and 6 in three columns, bias gradients 2 in three.
        let expected = (3.0f64 * (16.0 + 36.0) + 3.0 * 4.0).sqrt();
        let (clipped, norm) = clip_global_norm(&layer, grads(&layer, &device, 1.0), 1.0);
        assert!((norm - expected).abs() < 1e-5);
        let (_, norm) = clip_global_norm(&layer, clipped, 1.0);
        assert!((norm - 1.0).abs() < 1e-5);
        let (_, norm) = clip_global_norm(&layer, grads(&layer, &device, 1.0), 100.0);
        assert!((norm - expected).abs() < 1e-5);
    }
}
