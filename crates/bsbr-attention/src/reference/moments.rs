//! The moments arm, query by query.

use bsbr_kernels::round_to_bits;
use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData};

use super::{Head, clusters};
use crate::config::{HeadLevel, MomentsConfig};

/// Learned parameters of one head.
pub(super) struct Learned {
    /// τ. `[1, 1]`
    pub temperature: Tensor<2>,
    /// β. `[1, 1]`
    pub bias: Tensor<2>,
    /// γ. `[1, 1]`
    pub gain: Option<Tensor<2>>,
    pub routing: Option<Routed>,
}

/// Projections of the attention inputs.
pub(super) struct Routed {
    /// a W_R + b_R. `[N, D]`
    pub receivers: Tensor<2>,
    /// a W_H + b_H, whose mean over a chunk is that for the mean attention input.
    /// `[N, D]`
    pub offers: Tensor<2>,
}

/// A cluster of a far chunk, or a merged one of a span.
struct Cluster {
    tokens: Vec<usize>,
    /// k̄, v̄. `[1, D]`
    key: Tensor<2>,
    value: Tensor<2>,
}

/// A far chunk.
struct Chunk {
    clusters: Vec<Cluster>,
    /// F, or U_k U_kᵀ F U_v U_vᵀ with compression. `[D, D]`
    state: Tensor<2>,
    /// h. `[1, D]`
    offer: Tensor<2>,
}

/// A merged cluster of a span.
struct Merged {
    /// Of all tokens of its clusters.
    cluster: Cluster,
    /// Its clusters: a chunk, and the number of one of its clusters.
    members: Vec<(usize, usize)>,
}

/// The far field of a query.
#[derive(Clone, Copy)]
struct Far<'a> {
    chunks: &'a [Chunk],
    /// The merged clusters of each span.
    spans: &'a [Vec<Merged>],
}

pub(super) fn forward(
    config: &MomentsConfig,
    bases: Option<(Tensor<2>, Tensor<2>)>,
    learned: Option<Learned>,
    head: &Head,
) -> Tensor<2> {
    let learned = learned.as_ref();
    let routed = learned.and_then(|learned| learned.routing.as_ref());
    let (sinks, size) = (config.sink_tokens, config.chunk_size);
    let level = config.levels.first().copied().unwrap_or_default();
    let n = head.tokens();
    let whole_chunks = n.saturating_sub(sinks) / size;
    let chunks: Vec<_> = (0..whole_chunks)
        .map(|b| summarise(config, &bases, routed, head, sinks + b * size))
        .collect();
    let spans: Vec<_> = match config.span {
        0 => Vec::new(),
        chunks_of_span => (0..chunks.len() / chunks_of_span)
            .map(|span| merge(config, &chunks, span * chunks_of_span))
            .collect(),
    };
    let rows = (0..n)
        .map(|i| {
            if i < sinks {
                return attend_exactly(head, i, &(0..=i).collect::<Vec<_>>());
            }
            let c = (i - sinks) / size;
            let first_near = c.saturating_sub(config.near_chunks);
            let far = match level {
                HeadLevel::Near => 0,
                HeadLevel::Clusters | HeadLevel::Lookups => first_near,
            };
            let mut near: Vec<_> = (0..sinks).collect();
            near.extend(sinks + first_near * size..=i);
            query(
                config,
                learned,
                head,
                i,
                sinks + c * size,
                near,
                Far {
                    chunks: &chunks[..far],
                    spans: &spans[..far.checked_div(config.span).unwrap_or(0)],
                },
            )
        })
        .collect();
    Tensor::cat(rows, 0)
}

fn summarise(
    config: &MomentsConfig,
    bases: &Option<(Tensor<2>, Tensor<2>)>,
    routed: Option<&Routed>,
    head: &Head,
    start: usize,
) -> Chunk {
    let keys: Vec<Vec<f64>> = head
        .key
        .to_data()
        .iter::<f64>()
        .collect::<Vec<_>>()
        .chunks(head.key.dims()[1])
        .map(<[f64]>::to_vec)
        .collect();
    let tokens: Vec<_> = (start..start + config.chunk_size).collect();
    let offers = routed.map_or(&head.key, |routed| &routed.offers);
    let offer = select(offers, &tokens).mean_dim(0);
    let d = head.key.dims()[1];
    let mut state = Tensor::zeros([d, d], &head.key.device());
    let mut parts = Vec::new();
    for tokens in clusters::split(&keys, tokens, config.clusters.ilog2()) {
        let (keys, values) = (select(&head.key, &tokens), select(&head.value, &tokens));
        let (key, value) = (keys.clone().mean_dim(0), values.clone().mean_dim(0));
        let centred = (keys - key.clone()).transpose();
        state = state + centred.matmul(values - value.clone()) / config.chunk_size as f64;
        let bits = config.kv_bits.of_means();
        let [key, value] = [key, value].map(|mean| round_to_bits(mean, bits));
        parts.push(Cluster { tokens, key, value });
    }
    if let Some((u_k, u_v)) = bases {
        let kept = |u: &Tensor<2>| u.clone().matmul(u.clone().transpose());
        state = kept(u_k).matmul(state).matmul(kept(u_v));
    }
    Chunk {
        clusters: parts,
        state,
        offer,
    }
}

/// The merged clusters of the span that starts with chunk `first`.
fn merge(config: &MomentsConfig, chunks: &[Chunk], first: usize) -> Vec<Merged> {
    let members: Vec<(usize, usize)> = (first..first + config.span)
        .flat_map(|chunk| (0..chunks[chunk].clusters.len()).map(move |number| (chunk, number)))
        .collect();
    let cluster = |(chunk, number): (usize, usize)| &chunks[chunk].clusters[number];
    let keys: Vec<Vec<f64>> = members
        .iter()
        .map(|&member| cluster(member).key.to_data().iter::<f64>().collect())
        .collect();
    let groups = clusters::split(&keys, (0..members.len()).collect(), config.clusters.ilog2());
    let merged = groups.into_iter().map(|group| {
        let members: Vec<_> = group.into_iter().map(|number| members[number]).collect();
        let tokens: Vec<_> = members
            .iter()
            .flat_map(|&member| cluster(member).tokens.clone())
            .collect();
        let mean = |of: fn(&Cluster) -> &Tensor<2>| {
            let weighted = members.iter().map(|&member| {
                let cluster = cluster(member);
                of(cluster).clone() * (cluster.tokens.len() as f64 / tokens.len() as f64)
            });
            let sum = Tensor::cat(weighted.collect(), 0).sum_dim(0);
            round_to_bits(sum, config.kv_bits.of_means())
        };
        let (key, value) = (mean(|cluster| &cluster.key), mean(|cluster| &cluster.value));
        Merged {
            cluster: Cluster { tokens, key, value },
            members,
        }
    });
    merged.collect()
}

/// The clusters that a query sees: those of chunks in no span and of the merged clusters that it
/// opens, which it may look up, and the other merged ones.
fn seen<'a>(
    config: &MomentsConfig,
    far: Far<'a>,
    logit: impl Fn(&Cluster) -> f64,
) -> [Vec<&'a Cluster>; 2] {
    let mut merged: Vec<_> = far.spans.iter().flatten().collect();
    merged.sort_by(|a, b| logit(&b.cluster).total_cmp(&logit(&a.cluster)));
    let closed = merged.split_off(config.opened.min(merged.len()));
    let mut own: Vec<_> = merged
        .iter()
        .flat_map(|merged| merged.members.clone())
        .collect();
    let unmerged = far.spans.len() * config.span..far.chunks.len();
    own.extend(unmerged.flat_map(|chunk| {
        (0..far.chunks[chunk].clusters.len()).map(move |number| (chunk, number))
    }));
    own.sort_unstable();
    let own = own.into_iter();
    [
        own.map(|(chunk, number)| &far.chunks[chunk].clusters[number])
            .collect(),
        closed.into_iter().map(|merged| &merged.cluster).collect(),
    ]
}

/// Output of query `i`, whose chunk starts at `chunk_start`.
fn query(
    config: &MomentsConfig,
    learned: Option<&Learned>,
    head: &Head,
    i: usize,
    chunk_start: usize,
    near: Vec<usize>,
    far: Far<'_>,
) -> Tensor<2> {
    let q = select(&head.query, &[i]) * head.scale;
    let mut exact = near;
    let logit = |cluster: &Cluster| {
        let logit = (q.clone() * key(cluster, learned))
            .sum()
            .into_scalar::<f32>();
        // All clusters have the same β.
        f64::from(logit) + (cluster.tokens.len() as f64).ln()
    };
    let [own, merged] = seen(config, far, logit);
    let mut clusters: Vec<(f64, &Cluster)> = own
        .into_iter()
        .map(|cluster| (logit(cluster), cluster))
        .collect();
    clusters.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best = match config.looks_up() {
        true => config.exact_clusters.min(clusters.len()),
        false => 0,
    };
    let mut keys = vec![select(&head.key, &exact)];
    let mut values = vec![select(&head.value, &exact)];
    for (_, cluster) in clusters.drain(..best) {
        let kept = |x: &Tensor<2>| round_to_bits(select(x, &cluster.tokens), config.kv_bits);
        keys.push(kept(&head.key));
        values.push(kept(&head.value));
        exact.extend(&cluster.tokens);
    }
    let clusters: Vec<_> = clusters
        .into_iter()
        .map(|(_, cluster)| cluster)
        .chain(merged)
        .collect();
    let mut bias = vec![0.0f32; exact.len()];
    for cluster in &clusters {
        keys.push(key(cluster, learned));
        values.push(cluster.value.clone());
        bias.push((cluster.tokens.len() as f32).ln());
    }
    let width = bias.len();
    let mut bias: Tensor<2> = Tensor::from_data(TensorData::new(bias, [1, width]), &q.device());
    if let Some(learned) = learned {
        let flags: Vec<f32> = (0..width)
            .map(|k| if k < exact.len() { 0.0 } else { 1.0 })
            .collect();
        let flags: Tensor<2> = Tensor::from_data(TensorData::new(flags, [1, width]), &q.device());
        bias = bias + flags * learned.bias.clone();
    }
    let logits = q.clone().matmul(Tensor::cat(keys, 0).transpose()) + bias;
    let weights = softmax(logits, 1);
    let output = weights.clone().matmul(Tensor::cat(values, 0));
    if clusters.is_empty() || !config.state {
        return output;
    }
    let mass = weights.narrow(1, exact.len(), clusters.len()).sum_dim(1);

    let routed = learned.and_then(|learned| learned.routing.as_ref());
    let receivers = routed.map_or(&head.query, |routed| &routed.receivers);
    let receiver = select(receivers, &[chunk_start - 1]) * head.scale;
    let h = Tensor::cat(far.chunks.iter().map(|c| c.offer.clone()).collect(), 0);
    let w = softmax(receiver.matmul(h.transpose()), 1);
    let mut mixed = far.chunks[0].state.zeros_like();
    for (b, chunk) in far.chunks.iter().enumerate() {
        mixed = mixed + chunk.state.clone() * w.clone().narrow(1, b, 1);
    }
    if let Some(gain) = learned.and_then(|learned| learned.gain.clone()) {
        mixed = mixed * gain;
    }
    output + q.matmul(mixed) * mass
}

/// τ k̄. `[1, D]`
fn key(cluster: &Cluster, learned: Option<&Learned>) -> Tensor<2> {
    match learned {
        None => cluster.key.clone(),
        Some(learned) => cluster.key.clone() * learned.temperature.clone(),
    }
}

fn attend_exactly(head: &Head, i: usize, tokens: &[usize]) -> Tensor<2> {
    let q = select(&head.query, &[i]) * head.scale;
    let weights = softmax(q.matmul(select(&head.key, tokens).transpose()), 1);
    weights.matmul(select(&head.value, tokens))
}

fn select(rows: &Tensor<2>, tokens: &[usize]) -> Tensor<2> {
    let indices: Vec<i64> = tokens.iter().map(|&t| t as i64).collect();
    let count = indices.len();
    let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &rows.device());
    rows.clone().select(0, indices)
}
