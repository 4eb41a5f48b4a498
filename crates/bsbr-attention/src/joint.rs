//! One softmax over keys shared by many queries and keys of their own window.
//!
//! [`fused`] uses the causal attention kernel. The bias ln m of a cluster becomes an
//! additional dimension, in which queries are 1/σ. The mass on clusters becomes an
//! additional dimension of the values, in which clusters are 1: see [`extended`].
//! [`plain`] uses matrix products without copying keys, which is faster for few
//! queries, and supports lookups.

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::dense;
use crate::exact::{FarTokens, TokenSum};
use crate::masks::mask;
use crate::spans::Opening;

/// With fewer queries than this, copying the keys costs more than the kernel saves.
pub(crate) const FUSED_FROM: usize = 16;

/// Keys that all queries of a group see: sinks, then merged clusters of spans, then clusters of
/// far chunks.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// `[B, H, K, D]`
    pub keys: Tensor<4>,
    /// `[B, H, K, D]`
    pub values: Tensor<4>,
    /// ln m of each cluster, 0 for a sink. `[B, H, K]`
    pub bias: Tensor<3>,
    /// How many of the keys are sinks.
    pub sinks: usize,
}

/// Keys of each chunk's own window, which ends with the queries' own tokens.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// `[B, H, c, W, D]`
    pub keys: Tensor<5>,
    /// `[B, H, c, W, D]`
    pub values: Tensor<5>,
}

/// Result of the joint softmax.
#[derive(Debug, Clone)]
pub(crate) struct Attended {
    /// `[B, H, c, n, D]`
    pub output: Tensor<5>,
    /// M: softmax mass on clusters, if there are any. `[B, H, c, n, 1]`
    pub cluster_mass: Option<Tensor<5>>,
}

/// A copy of `rows` with additional room: `total` rows, with one more dimension. The
/// rest is `fill`.
///
/// # Shapes
///
/// - rows: `[B, H, n, D]`
/// - output: `[B, H, total, D + 1]`
pub(crate) fn extended(rows: Tensor<4>, total: usize, fill: f32) -> Tensor<4> {
    let [b, h, n, d] = rows.dims();
    let options = (&rows.device(), rows.dtype());
    Tensor::full([b, h, total, d + 1], fill, options).slice_assign([0..b, 0..h, 0..n, 0..d], rows)
}

impl Shared {
    /// These keys, then others that are no sinks.
    pub fn followed_by(self, others: Self) -> Self {
        let joined = |a: Tensor<4>, b: Tensor<4>| Tensor::cat(vec![a, b], 2);
        Self {
            keys: joined(self.keys, others.keys),
            values: joined(self.values, others.values),
            bias: Tensor::cat(vec![self.bias, others.bias], 2),
            sinks: self.sinks,
        }
    }

    /// The first `count` of these keys, which are clusters.
    pub fn first(&self, count: usize) -> Self {
        Self {
            keys: self.keys.clone().narrow(2, 0, count),
            values: self.values.clone().narrow(2, 0, count),
            bias: self.bias.clone().narrow(2, 0, count),
            sinks: 0,
        }
    }

    /// Keys with their bias, and values with their cluster flag, in one additional
    /// dimension.
    pub fn extended(&self) -> (Tensor<4>, Tensor<4>) {
        let [b, h, k, _] = self.keys.dims();
        let bias = self.bias.clone().unsqueeze_dim(3);
        let flags = cluster_flags(self.sinks, k, &self.values).expand([b, h, k, 1]);
        (
            Tensor::cat(vec![self.keys.clone(), bias], 3),
            Tensor::cat(vec![self.values.clone(), flags], 3),
        )
    }
}

/// 0 for sinks, 1 for clusters. `[1, 1, K, 1]`
fn cluster_flags(sinks: usize, keys: usize, like: &Tensor<4>) -> Tensor<4> {
    let flags: Vec<f32> = (0..keys)
        .map(|k| if k < sinks { 0.0 } else { 1.0 })
        .collect();
    Tensor::from_data(
        TensorData::new(flags, [1, 1, keys, 1]),
        (&like.device(), like.dtype()),
    )
}

/// Causal softmax attention of each chunk over its own list of keys, by the kernel.
///
/// # Shapes
///
/// - query: `[B, H, c, n, D]`; the last n keys of each chunk are those of the queries
/// - keys, values: `[B, H, c, W, D]`
/// - output: `[B, H, c, n, D]`
pub(crate) fn fused(query: Tensor<5>, keys: Tensor<5>, values: Tensor<5>, scale: f64) -> Tensor<5> {
    let [b, h, c, n, d] = query.dims();
    let width = keys.dims()[3];
    // Heads and chunks form one dimension, which the kernel distributes over threads.
    let lists = b * h * c;
    dense::attend(
        query.reshape([lists, 1, n, d]),
        keys.reshape([lists, 1, width, d]),
        values.reshape([lists, 1, width, d]),
        scale,
    )
    .reshape([b, h, c, n, d])
}

/// The additional dimension of the queries, such that a bias counts once after σ.
pub(crate) fn unit(scale: f64) -> f32 {
    (1.0 / scale) as f32
}

/// softmax over shared and window keys, times their values, by matrix products.
///
/// With `opening`, the clusters of each query's best merged clusters replace these, and with
/// `exact`, the tokens of its best clusters replace them.
///
/// # Shapes
///
/// - query: `[B, H, c, n, D]`, scaled by σ
/// - hidden: added to the logits of shared keys, `[1, 1, c, 1, K]`
pub(crate) fn plain(
    query: Tensor<5>,
    shared: Option<&Shared>,
    hidden: Option<Tensor<5>>,
    opening: Option<Opening<'_>>,
    window: Window,
    exact: Option<&FarTokens>,
) -> Attended {
    let [_, _, _, n, _] = query.dims();
    let near = window.keys.dims()[3];
    let mut of_window = query.clone().matmul(window.keys.swap_dims(3, 4));
    if let Some(later) = causal_tail(n, near, &query.device(), query.dtype()) {
        of_window = of_window + later;
    }
    let Some(shared) = shared else {
        return Attended {
            output: softmax(of_window, 4).matmul(window.values),
            cluster_mass: None,
        };
    };
    let of_shared = by_all(query.clone(), shared.keys.clone().swap_dims(2, 3));
    let mut of_shared = of_shared + shared.bias.clone().unsqueeze_dims(&[2, 3]);
    if let Some(hidden) = hidden {
        of_shared = of_shared + hidden;
    }
    let mut before_clusters = shared.sinks;
    if let Some(opening) = opening {
        of_shared = opening.open(of_shared, shared.sinks);
        before_clusters += opening.width();
    }
    let (of_shared, tokens) = match exact {
        None => (of_shared, None),
        Some(far) => {
            let (logits, tokens) = far.replace_best(of_shared, before_clusters, query);
            (logits, Some(tokens))
        }
    };

    let wide = of_shared.dims()[4];
    let logits = Tensor::cat(vec![of_shared, of_window], 4);
    let (weights, looked_up) = match tokens {
        None => (softmax(logits, 4), None),
        Some(tokens) => {
            let (weights, weight) = softmax_beside(logits, &tokens);
            (weights, Some(weight * tokens.mean_value))
        }
    };

    let on_shared = weights.clone().narrow(4, 0, wide);
    let mut output = by_all(on_shared.clone(), shared.values.clone())
        + weights.narrow(4, wide, near).matmul(window.values);
    if let Some(looked_up) = looked_up {
        output = output + looked_up;
    }
    let flags = cluster_flags(shared.sinks, wide, &shared.values);
    Attended {
        output,
        cluster_mass: (wide > shared.sinks).then(|| by_all(on_shared, flags)),
    }
}

/// One softmax over logits and looked-up tokens: the weights of the logits, and the weight of all
/// tokens together.
///
/// # Shapes
///
/// - logits, weights: `[B, H, c, n, K]`
/// - weight: `[B, H, c, n, 1]`
fn softmax_beside(logits: Tensor<5>, tokens: &TokenSum) -> (Tensor<5>, Tensor<5>) {
    // A constant shift changes no weight, so it needs no gradient.
    let of_logits = logits.clone().detach().max_dim(4);
    let highest = of_logits.max_pair(tokens.highest.clone().detach());
    let masses = (logits - highest.clone()).exp();
    let mass = tokens.mass.clone() * (tokens.highest.clone() - highest).exp();
    let total = masses.clone().sum_dim(4) + mass.clone();
    (masses / total.clone(), mass / total)
}

/// Mask of the last `n` tokens over `seen` keys that end with their own: `None` for
/// one token, which sees all keys.
///
/// # Shapes
///
/// - output: `[1, 1, 1, n, seen]`, see [`mask`]
fn causal_tail(n: usize, seen: usize, device: &Device, dtype: DType) -> Option<Tensor<5>> {
    if n == 1 {
        return None;
    }
    let mask = mask([n, seen], device, |query, key| key <= seen - n + query);
    Some(mask.unsqueeze::<5>().cast(dtype))
}

/// Product of every chunk's rows with one matrix per head.
///
/// With autodiff the chunks are joined to one tall matrix. Broadcasting the right
/// side would multiply the size of its gradient by the number of chunks.
///
/// # Shapes
///
/// - left: `[B, H, c, n, i]`
/// - right: `[B, H, i, j]`, or `[1, 1, i, j]` for all heads
/// - output: `[B, H, c, n, j]`
fn by_all(left: Tensor<5>, right: Tensor<4>) -> Tensor<5> {
    if !left.is_autodiff() {
        return left.matmul(right.unsqueeze_dim(2));
    }
    let [b, h, c, n, i] = left.dims();
    let j = right.dims()[3];
    left.reshape([b, h, c * n, i])
        .matmul(right)
        .reshape([b, h, c, n, j])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn fused_and_plain_forms_agree() {
        let device = Device::default();
        let random =
            |n: usize| Tensor::<4>::random([2, 3, n, 5], Distribution::Normal(0.0, 1.0), &device);
        let chunks = |x: Tensor<4>, n: usize| x.reshape([2, 3, 2, n, 5]);
        let query = random(2 * 4);
        let shared = Shared {
            keys: random(6),
            values: random(6),
            bias: random(6).narrow(3, 0, 1).squeeze_dim(3),
            sinks: 2,
        };
        let (keys, values) = (random(2 * 7), random(2 * 7));
        let with_plain = plain(
            chunks(query.clone(), 4),
            Some(&shared),
            None,
            None,
            Window {
                keys: chunks(keys.clone(), 7),
                values: chunks(values.clone(), 7),
            },
            None,
        );
        let wide = |x: Tensor<4>, n: usize, fill: f32| -> Tensor<5> {
            extended(x, 2 * n, fill).reshape([2, 3, 2, n, 6])
        };
        let (shared_keys, shared_values) = shared.extended();
        let beside = |shared: Tensor<4>, own: Tensor<4>| {
            let shared = shared.unsqueeze_dim::<5>(2).expand([2, 3, 2, 6, 6]);
            Tensor::cat(vec![shared, wide(own, 7, 0.0)], 3)
        };
        let with_kernel = fused(
            wide(query / 0.3, 4, unit(0.3)),
            beside(shared_keys, keys),
            beside(shared_values, values),
            0.3,
        );
        let mass = with_plain.cluster_mass.expect("there are clusters");
        let expected = Tensor::cat(vec![with_plain.output, mass], 4);
        let error = (with_kernel - expected).abs().max().into_scalar::<f32>();
        assert!(error < 1e-5, "{error}");
    }
}
