//! The report's formula, made causal.
//!
//! Per head, o_i = softmax(own chunk; σ) V + q_i · S_c, with S_c = Σ_{b<c} w_cb K_bᵀV_b and w_c =
//! softmax_{b<c}(r_c·h_b/√D), where r_c = a[cS−1] W_R + b_R and h_b = a[(b+1)S−1] W_H + b_H, and a
//! is the attention input. The queries of the retrieved term are not scaled, chunk 0 retrieves
//! nothing, and a partial last chunk is never retrieved.

use bsbr_kernels::{add_bias, fuses_mixed_matmul, mixed_matmul};
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor};

use crate::attention::{AttentionInput, HeadShape};
use crate::chunked::Chunked;
use crate::compression::{CompressionBases, outer_sums, read_state};
use crate::config::PublishedConfig;
use crate::routing;

/// Projections that route between chunks: in the published arm, and in the moments arm with
/// learned parameters.
#[derive(Module, Debug)]
pub struct PublishedRouting {
    /// W_R, b_R: the receivers of chunks. `[hidden, H·D]`
    pub retrieval: Linear,
    /// W_H, b_H: the offers of chunks. `[hidden, H·D]`
    pub summary: Linear,
}

impl PublishedRouting {
    /// Routing whose W_R, b_R are the mean of the query and key projections, and
    /// whose W_H, b_H are the mean of the key and value projections.
    ///
    /// # Shapes
    ///
    /// - weight: `[hidden, 3·hidden]`, as GPT-2's `c_attn`: queries, keys, values
    /// - bias: `[3·hidden]`
    pub fn from_qkv(weight: Tensor<2>, bias: Tensor<1>) -> Self {
        let [query, key, value] = parts(weight, bias);
        let mean = |one: &Part, other: &Part| {
            linear(
                (one.0.clone() + other.0.clone()) / 2.0,
                (one.1.clone() + other.1.clone()) / 2.0,
            )
        };
        Self {
            retrieval: mean(&query, &key),
            summary: mean(&key, &value),
        }
    }

    /// Routing whose W_R, b_R are the query projection, and whose W_H, b_H are the key projection:
    /// equal to the moments arm without learned routing.
    ///
    /// # Shapes
    ///
    /// Same as [`Self::from_qkv`].
    pub fn from_query_and_key(weight: Tensor<2>, bias: Tensor<1>) -> Self {
        let [query, key, _] = parts(weight, bias);
        Self {
            retrieval: linear(query.0, query.1),
            summary: linear(key.0, key.1),
        }
    }

    /// Projections of the given sizes, to be loaded or initialised.
    pub(crate) fn new(shape: HeadShape, device: &Device) -> Self {
        let size = shape.num_heads * shape.head_dim;
        let linear = || LinearConfig::new(shape.hidden_size, size).init(device);
        Self {
            retrieval: linear(),
            summary: linear(),
        }
    }

    /// r of attention inputs.
    ///
    /// # Shapes
    ///
    /// - inputs: `[B, C, hidden]`
    /// - output: `[B, H, C, D]`
    pub(crate) fn receivers(&self, inputs: Tensor<3>, heads: usize) -> Tensor<4> {
        split(project(&self.retrieval, inputs), heads)
    }

    /// h of attention inputs.
    ///
    /// # Shapes
    ///
    /// - inputs: `[B, C, hidden]`
    /// - output: `[B, H, C, D]`
    pub(crate) fn summaries(&self, inputs: Tensor<3>, heads: usize) -> Tensor<4> {
        split(project(&self.summary, inputs), heads)
    }
}

/// Weight and bias of a projection.
type Part = (Tensor<2>, Tensor<1>);

/// The projections of queries, keys and values, in f32, so that their means are not rounded twice.
fn parts(weight: Tensor<2>, bias: Tensor<1>) -> [Part; 3] {
    let (weight, bias) = (weight.cast(DType::F32), bias.cast(DType::F32));
    let width = bias.dims()[0] / 3;
    [0, 1, 2].map(|i| {
        (
            weight.clone().narrow(1, i * width, width),
            bias.clone().narrow(0, i * width, width),
        )
    })
}

fn linear(weight: Tensor<2>, bias: Tensor<1>) -> Linear {
    Linear {
        weight: Param::from_tensor(weight),
        bias: Some(Param::from_tensor(bias)),
    }
}

/// The projection in its own type, which may differ from the model's half precision, or in f32 if
/// the device multiplies weights in half precision directly.
fn project(projection: &Linear, inputs: Tensor<3>) -> Tensor<3> {
    let weight = projection.weight.val();
    let is_mixed = inputs.dtype() == DType::F32
        && weight.dtype() != DType::F32
        && fuses_mixed_matmul(&weight.device());
    if !is_mixed {
        return projection.forward(inputs.cast(weight.dtype()));
    }
    let [b, c, hidden] = inputs.dims();
    let projected = mixed_matmul(inputs.reshape([b * c, hidden]), weight);
    let projected = match &projection.bias {
        Some(bias) => add_bias(projected, bias.val().cast(DType::F32)),
        None => projected,
    };
    let size = projected.dims()[1];
    projected.reshape([b, c, size])
}

/// `[B, C, H·D]` → `[B, H, C, D]`
fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, c, size] = x.dims();
    x.reshape([b, c, heads, size / heads]).swap_dims(1, 2)
}

/// K_bᵀV_b of each chunk, in f32, or U_kᵀK_bᵀV_bU_v with bases.
///
/// # Shapes
///
/// - keys, values: `[B, H, C, S, D]`
/// - output: `[B, H, C, D, D]` or `[B, H, C, r, r]`
pub(crate) fn states(
    keys: Tensor<5>,
    values: Tensor<5>,
    bases: Option<&CompressionBases>,
) -> Tensor<5> {
    let (keys, values) = (keys.cast(DType::F32), values.cast(DType::F32));
    let (keys, values) = match bases {
        None => (keys, values),
        Some(bases) => (bases.project_keys(keys), bases.project_values(values)),
    };
    outer_sums(keys, values)
}

/// The whole arm.
///
/// # Shapes
///
/// - output: `[B, H, N, D]`
pub(crate) fn forward(
    config: &PublishedConfig,
    routing: &PublishedRouting,
    bases: Option<&CompressionBases>,
    input: AttentionInput,
) -> Tensor<4> {
    let AttentionInput {
        query,
        key,
        value,
        hidden_states,
        scale,
        ..
    } = input;
    let [b, h, n, d] = query.dims();
    let size = config.chunk_size;
    let chunked = Chunked::new(config.grid(), [query, key, value], scale);
    let own = chunked.attend(None);
    let chunks = chunked.far_chunks();
    if chunks == 0 {
        return own;
    }
    let last = chunked.before_tail(&hidden_states.unsqueeze_dim(1));
    let last: Tensor<3> = last.squeeze_dim(1);
    let receivers = routing.receivers(last.clone(), h);
    let summaries = routing.summaries(last, h);
    let weights = routing::triangular_weights(receivers, summaries, 1.0 / (d as f64).sqrt());
    let (keys, values) = chunked.far_tokens();
    let mixed = routing::mix(weights, states(keys, values, bases));

    let retrieved = read_state(chunked.tail_query(), mixed, bases)
        .reshape([b, h, chunks * size, d])
        .narrow(2, 0, n - size);
    let later = own.clone().narrow(2, size, n - size) + retrieved;
    Tensor::cat(vec![own.narrow(2, 0, size), later], 2)
}
