//! One softmax over sinks, near tokens and the clusters of far chunks, plus a state.
//!
//! The mean of each cluster is the zeroth order, and the state the first order, of exact
//! attention expanded around the cluster's mean.
//!
//! Learned parameters enter in [`far_field`]: projections for the receivers and for h_b, a
//! temperature on the clusters' keys, a bias beside ln m, a gain on the state.

use burn::tensor::{DType, Tensor, TensorData};

use crate::attention::AttentionInput;
use crate::chunked::{Chunked, FarField};
use crate::clusters::Assignment;
use crate::compression::{CompressionBases, read_state};
use crate::config::{HeadLevel, MomentsConfig};
use crate::exact::FarTokens;
use crate::fused;
use crate::joint::Shared;
use crate::masks::HIDDEN;
use crate::routing;
use crate::summary::{StateForm, Summary};
use crate::tuning::Own;

impl MomentsConfig {
    /// Whether and in which form F is stored.
    pub fn state_form<'a>(&self, bases: Option<&'a CompressionBases>) -> StateForm<'a> {
        match bases {
            _ if !self.state => StateForm::Off,
            Some(bases) => StateForm::Compressed(bases),
            None => StateForm::Whole,
        }
    }

    /// 1 for each head that passes `test`, else 0. `None` if all pass.
    fn heads_where(&self, test: impl Fn(HeadLevel) -> bool) -> Option<Vec<f32>> {
        let all = self.levels.iter().all(|level| test(*level));
        (!all).then(|| {
            let of = |level: &HeadLevel| f32::from(u8::from(test(*level)));
            self.levels.iter().map(of).collect()
        })
    }

    /// Logits of clusters, or their masks, hidden in heads that see only the near field.
    ///
    /// # Shapes
    ///
    /// - logits, output: `[B, H, …]`
    pub(crate) fn hide_from_near_heads<const K: usize>(&self, logits: Tensor<K>) -> Tensor<K> {
        match self.heads_where(|level| level > HeadLevel::Near) {
            None => logits,
            Some(heads) => {
                let near = of_heads::<K>(heads, &logits).lower_elem(0.5);
                let dims = logits.dims();
                logits.mask_fill(near.expand(dims), HIDDEN)
            }
        }
    }

    /// 1 for clusters that a query has chosen, 0 in heads without lookups.
    ///
    /// # Shapes
    ///
    /// - chosen, output: `[B, H, …]`
    pub(crate) fn only_looked_up<const K: usize>(&self, chosen: Tensor<K>) -> Tensor<K> {
        match self.heads_where(|level| level == HeadLevel::Lookups) {
            None => chosen,
            Some(heads) => chosen.clone() * of_heads(heads, &chosen),
        }
    }

    /// Clusters as keys that queries see, in the order of chunks or spans.
    pub(crate) fn as_keys(&self, own: Own<'_>, summary: &Summary, dtype: DType) -> Shared {
        let [b, h, c, g, d] = summary.keys.dims();
        let log_counts = self.hide_from_near_heads(own.log_counts(summary));
        Shared {
            keys: own.keys(summary).reshape([b, h, c * g, d]).cast(dtype),
            values: summary.values.clone().reshape([b, h, c * g, d]).cast(dtype),
            bias: log_counts.reshape([b, h, c * g]).cast(dtype),
            sinks: 0,
        }
    }

    /// Summaries of whole chunks, with their clusters.
    ///
    /// # Shapes
    ///
    /// - keys, values: `[B, H, C, S, D]`
    pub fn summarise(
        &self,
        keys: Tensor<5>,
        values: Tensor<5>,
        bases: Option<&CompressionBases>,
    ) -> (Summary, Assignment) {
        let assignment = Assignment::split(&keys, self.clusters);
        let summary = Summary::build(keys, values, &assignment, self.state_form(bases));
        (summary.kept_in(self.kv_bits.of_means()), assignment)
    }
}

/// One number per head. `[1, H, 1, …]`
fn of_heads<const K: usize>(numbers: Vec<f32>, like: &Tensor<K>) -> Tensor<K> {
    let mut shape = [1; K];
    shape[1] = numbers.len();
    Tensor::from_data(
        TensorData::new(numbers, shape),
        (&like.device(), like.dtype()),
    )
}

/// The whole arm: by one kernel if available, and otherwise, or with learned parameters,
/// composed of smaller operations.
///
/// # Shapes
///
/// - output: `[B, H, N, D]`
pub(crate) fn forward(config: &MomentsConfig, own: Own<'_>, input: AttentionInput) -> Tensor<4> {
    let settings = config.block_attention();
    if own.is_as_converted() && fused::is_best(&settings, &input.query) {
        let (inputs, scale) = input.without_hidden_states();
        return fused::moments(config, own.bases, inputs, scale);
    }
    let AttentionInput {
        query,
        key,
        value,
        hidden_states,
        scale,
        ..
    } = input;
    let chunked = Chunked::new(settings.grid, [query, key, value], scale);
    let far = (chunked.far_chunks() > 0).then(|| far_field(config, own, &chunked, hidden_states));
    chunked.attend(far.as_ref())
}

/// Summaries of the far chunks, as keys to attend to.
fn far_field(
    config: &MomentsConfig,
    own: Own<'_>,
    chunked: &Chunked,
    hidden_states: Tensor<3>,
) -> FarField {
    let (keys, values) = chunked.far_tokens();
    let (h, dtype) = (keys.dims()[1], keys.dtype());
    let (summary, assignment) = config.summarise(keys.clone(), values.clone(), own.bases);

    let correction = summary.state.clone().map(|states| {
        let (receivers, offers) = match own.routing {
            None => (chunked.receivers(), summary.mean_key()),
            Some(routing) => {
                let hidden = hidden_states.unsqueeze_dim(1);
                let last = chunked.before_tail(&hidden).squeeze_dim(1);
                let mean = chunked.far(&hidden).mean_dim(3).squeeze_dims(&[1, 3]);
                (routing.receivers(last, h), routing.summaries(mean, h))
            }
        };
        let weights = routing::triangular_weights(receivers, offers, chunked.scale());
        // σ · q S_c, with σ applied to the smaller factor.
        let mixed = own.state(routing::mix(weights, states)) * chunked.scale();
        read_state(chunked.tail_query(), mixed, own.bases)
    });
    let tokens = config
        .looks_up()
        .then(|| FarTokens::new(config, &assignment, keys, values));
    let merged = config.merge(&summary);
    FarField {
        clusters: config.as_keys(own, &summary, dtype),
        of_chunk: summary.clusters(),
        correction,
        tokens,
        merged: merged.map(|all| (config.as_keys(own, &all.summary, dtype), all)),
    }
}
