//! Training with computation in half precision, and weights and updates in f32.

use bsbr_gpt2::Gpt2;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The type in which a model computes during training.
///
/// In any precision, weights, summed gradients, the optimiser's means, losses, norms, the
/// summaries of the arms and their own parameters are f32. In half precision, each forward pass
/// starts from rounded weights.
///
/// On the CPU, bf16 is the type of the factors of products with the weights of linear layers and of
/// the output layer, in both passes. Their sums, and everything else, are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 10 of them the fraction. Small gradients become zero.
    F16,
    /// The upper 16 bits of an f32.
    Bf16,
}

impl Precision {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Whether nothing is rounded.
    pub fn is_single(&self) -> bool {
        *self == Self::F32
    }

    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// The factor of losses before the backward pass, so that small gradients are not zero in
    /// half precision. If a scaled loss is not finite, the run ends.
    pub(crate) fn loss_scale(self) -> f64 {
        match self {
            Self::F32 | Self::Bf16 => 1.0,
            Self::F16 => 1024.0,
        }
    }

    /// Checks that `device` can train in it.
    ///
    /// # Errors
    ///
    /// [`TrainError::Precision`] names both if it cannot.
    pub fn check(self, device: &Device) -> Result<(), TrainError> {
        match device.supports_dtype(self.dtype()) {
            true => Ok(()),
            false => Err(TrainError::Precision {
                precision: self.name(),
                device: name(device),
            }),
        }
    }

    /// What the micro-batches of a step share that starts from the weights of `model`.
    pub(crate) fn of_step(self, model: &Gpt2) -> StepPrecision {
        let products = self == Self::Bf16 && bsbr_kernels::prefers_bf16_matmul(&model.device());
        StepPrecision {
            precision: self,
            packed: products.then(|| model.clone().with_bf16_training()),
        }
    }
}

/// The precision of a step.
pub(crate) struct StepPrecision {
    precision: Precision,
    /// A model with weights packed for products in bf16, if these are the only operations that are
    /// not in f32.
    packed: Option<Gpt2>,
}

impl StepPrecision {
    /// The factor of losses before the backward pass.
    pub(crate) fn loss_scale(&self) -> f64 {
        self.precision.loss_scale()
    }

    /// A copy of the step's model that computes in this precision. Its leaves are those of `model`,
    /// or new ones with rounded weights, except the arms' own parameters. `None` if the model would
    /// be unchanged.
    pub(crate) fn lowered(&self, model: &Gpt2) -> Option<Gpt2> {
        if let Some(packed) = &self.packed {
            return Some(model.clone().with_packed_weights_of(packed));
        }
        (!self.precision.is_single()).then(|| {
            let mut lower = Lower {
                path: Vec::new(),
                dtype: self.precision.dtype(),
            };
            model.valid().map(&mut lower).train()
        })
    }

    /// The gradients of a model in this precision as f32, without the factor of its losses.
    pub(crate) fn raised(&self, model: &Gpt2, grads: GradientsParams) -> GradientsParams {
        if self.precision.is_single() || self.packed.is_some() {
            return grads;
        }
        let mut raise = Raise {
            grads,
            factor: 1.0 / self.loss_scale(),
        };
        model.visit(&mut raise);
        raise.grads
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

struct Raise {
    grads: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Raise {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let grad = grad.cast(DType::F32) * self.factor;
            self.grads.register(param.id, grad);
        }
    }
}
