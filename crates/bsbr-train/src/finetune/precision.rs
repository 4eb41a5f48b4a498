//! Training with computation in half precision, and weights and updates in f32.

use bsbr_convert::FloatType;
use bsbr_gpt2::Gpt2;
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};

use crate::error::TrainError;
use crate::gradients::scaled;

/// Checks that `device` can train in `precision`.
///
/// # Errors
///
/// [`TrainError::Precision`] names both if it cannot.
pub fn check_precision(precision: FloatType, device: &Device) -> Result<(), TrainError> {
    match device.supports_dtype(precision.burn_dtype()) {
        true => Ok(()),
        false => Err(TrainError::Precision {
            precision: precision.name(),
            device: name(device),
        }),
    }
}

/// The precision of a step, which its micro-batches share.
pub(crate) struct StepPrecision {
    precision: FloatType,
    /// A model with weights packed for products in bf16, if these are the only operations that are
    /// not in f32.
    packed: Option<Gpt2>,
}

impl StepPrecision {
    /// The precision of a step that starts from the weights of `model`.
    pub(crate) fn new(precision: FloatType, model: &Gpt2) -> Self {
        let products =
            precision == FloatType::Bf16 && bsbr_kernels::prefers_bf16_matmul(&model.device());
        Self {
            precision,
            packed: products.then(|| model.clone().with_bf16_training()),
        }
    }

    /// The factor of losses before the backward pass, so that small gradients are not zero in
    /// half precision. If a scaled loss is not finite, the run ends.
    pub(crate) fn loss_scale(&self) -> f64 {
        match self.precision {
            FloatType::F32 | FloatType::Bf16 => 1.0,
            FloatType::F16 => 1024.0,
        }
    }

    /// A copy of the step's model that computes in this precision. Its leaves are those of `model`,
    /// or new ones with rounded weights, except the arms' own parameters. `None` if the model would
    /// be unchanged.
    pub(crate) fn lowered(&self, model: &Gpt2) -> Option<Gpt2> {
        if let Some(packed) = &self.packed {
            return Some(model.clone().with_packed_weights_of(packed));
        }
        self.precision.is_half().then(|| {
            let mut lower = Lower {
                path: Vec::new(),
                dtype: self.precision.burn_dtype(),
            };
            model.valid().map(&mut lower).train()
        })
    }

    /// The gradients of a model in this precision as f32, without the factor of its losses.
    pub(crate) fn raised(&self, model: &Gpt2, grads: GradientsParams) -> GradientsParams {
        if !self.precision.is_half() || self.packed.is_some() {
            return grads;
        }
        scaled(model, grads, 1.0 / self.loss_scale())
    }
}

/// The name of the device in errors.
fn name(device: &Device) -> String {
    let text = format!("{device:?}");
    match text
        .strip_prefix("Device<")
        .and_then(|text| text.strip_suffix('>'))
    {
        Some(inner) => inner.to_owned(),
        None => text,
    }
}

struct Lower {
    path: Vec<String>,
    dtype: DType,
}

impl ModuleMapper for Lower {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Arms compute with their own parameters in f32.
        match self.path.iter().any(|part| part == "bsbr") {
            true => param,
            false => param.map(|tensor| tensor.cast(self.dtype)),
        }
    }
}
