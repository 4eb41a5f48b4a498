//! Learned parameters of the moments arm.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};

use crate::compression::CompressionBases;
use crate::published::PublishedRouting;
use crate::summary::Summary;

/// A temperature for the clusters' logits, a bias beside ln m, and a gain for the state, per
/// head.
///
/// A cluster's logit is τ σ q·k̄ + ln m + β, and the state adds γ M σ q S_c. Initial values
/// change nothing.
#[derive(Module, Debug)]
pub struct RetrievalTuning {
    /// τ, initially 1. `[H]`
    pub temperature: Param<Tensor<1>>,
    /// β, initially 0. `[H]`
    pub bias: Param<Tensor<1>>,
    /// γ, initially 1, if there is a state. `[H]`
    pub gain: Option<Param<Tensor<1>>>,
}

impl RetrievalTuning {
    /// Values that change nothing.
    pub fn neutral(heads: usize, state: bool, device: &Device) -> Self {
        let ones = || Param::from_tensor(Tensor::ones([heads], device));
        Self {
            temperature: ones(),
            bias: Param::from_tensor(Tensor::zeros([heads], device)),
            gain: state.then(ones),
        }
    }
}

/// An arm's own parameters, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Own<'a> {
    pub bases: Option<&'a CompressionBases>,
    pub tuning: Option<&'a RetrievalTuning>,
    pub routing: Option<&'a PublishedRouting>,
}

impl Own<'_> {
    /// Whether there are no learned parameters. The fused kernel supports only this case.
    pub fn is_as_converted(&self) -> bool {
        self.tuning.is_none() && self.routing.is_none()
    }

    /// τ k̄. `[B, H, C, G, D]`
    pub fn keys(&self, summary: &Summary) -> Tensor<5> {
        match self.tuning {
            None => summary.keys.clone(),
            Some(tuning) => summary.keys.clone() * per_head(&tuning.temperature),
        }
    }

    /// ln m + β. `[B, H, C, G]`
    pub fn log_counts(&self, summary: &Summary) -> Tensor<4> {
        match self.tuning {
            None => summary.log_counts(),
            Some(tuning) => summary.log_counts() + per_head(&tuning.bias),
        }
    }

    /// γ S_c. `[B, H, n, r, r]`
    pub fn state(&self, mixed: Tensor<5>) -> Tensor<5> {
        match self.tuning.and_then(|tuning| tuning.gain.as_ref()) {
            None => mixed,
            Some(gain) => mixed * per_head(gain),
        }
    }
}

/// `[H]` → `[1, H, 1, …]`
fn per_head<const K: usize>(values: &Param<Tensor<1>>) -> Tensor<K> {
    let values = values.val().cast(DType::F32);
    let mut shape = [1; K];
    shape[1] = values.dims()[0];
    values.reshape(shape)
}
