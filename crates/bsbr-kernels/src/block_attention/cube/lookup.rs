//! Lookups: attention of a query to the tokens of its chosen clusters.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::attend::HIDDEN;
use super::listed::{Four, four_of, sum_of};

/// Tokens that are weighed together.
const STEP: usize = 4;

/// The looked-up clusters of queries.
pub(super) struct LookedUp {
    /// Those of each query: see [`choose`](super::choose::choose). `[B, H, N, t]`
    pub(super) chosen: CubeTensor,
    /// The tokens of each: see [`order`](super::order). `[B, H, F, G + 1 + S]`
    pub(super) order: CubeTensor,
    /// Keys and values of all tokens for lookups, if they differ from the inputs. `[B, H, N, D]`
    pub(super) kept: Option<[CubeTensor; 2]>,
}

impl LookedUp {
    /// Rounded keys and values as arguments of a kernel that also has the inputs.
    pub(super) fn kept_args(&self) -> [Option<TensorArg>; 2] {
        match self.kept.clone() {
            Some(kept) => kept.map(|x| Some(x.into_tensor_arg())),
            None => [None, None],
        }
    }

    /// Keys and values for lookups.
    pub(super) fn tokens<'a>(&'a self, inputs: [&'a CubeTensor; 2]) -> [&'a CubeTensor; 2] {
        match &self.kept {
            Some(kept) => kept.each_ref(),
            None => inputs,
        }
    }
}

/// Positions of the clusters that a query looks up, and of their tokens.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Lookup {
    /// The query's first index in the list of choices.
    pub list: usize,
    /// The head's first index in the order of tokens.
    pub orders: usize,
    /// The number of clusters of all chunks, which marks a missing one.
    pub all: usize,
    /// Clusters of a chunk.
    pub clusters: usize,
    /// Tokens of a chunk.
    pub size: usize,
    /// Tokens before the first chunk.
    pub sinks: usize,
}

/// Positions of the tokens of a cluster.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Members {
    /// The first token of their chunk.
    pub first: usize,
    /// Their first index in the order of tokens.
    pub begin: usize,
    /// The end of their indices.
    pub end: usize,
}

#[cube]
impl Lookup {
    /// The `at`-th cluster that the query looks up, or [`all`](Self::all).
    pub fn cluster(&self, chosen: &[u32], at: usize, #[comptime] best: usize) -> usize {
        let mut cluster = self.all;
        if at < best {
            cluster = chosen[self.list + at] as usize;
        }
        cluster
    }

    /// The tokens of a cluster.
    pub fn members(&self, order: &[u32], cluster: usize) -> Members {
        let (chunk, own) = (cluster / self.clusters, cluster % self.clusters);
        let row = self.orders + chunk * (self.clusters + 1 + self.size);
        let tokens = row + self.clusters + 1;
        Members {
            first: self.sinks + chunk * self.size,
            begin: tokens + order[row + own] as usize,
            end: tokens + order[row + own + 1] as usize,
        }
    }
}

/// A partial softmax.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Weighed {
    /// The highest score.
    pub most: f32,
    /// The sum of all weights.
    pub norm: f32,
    /// The sum of the weights of clusters.
    pub mass: f32,
}

/// Adds the looked-up tokens of a query to its softmax, and their values to its `sum`. Queries of a
/// block look up different clusters, so each reads its own tokens.
#[cube]
#[allow(clippy::too_many_arguments)] // what a kernel is given
pub(super) fn look_up<F: Float>(
    k: &Tensor<F>,
    v: &Tensor<F>,
    chosen: &[u32],
    order: &[u32],
    lookup: &Lookup,
    own: &Array<Four>,
    sum: &mut Array<Four>,
    before: Weighed,
    #[comptime] d: usize,
    #[comptime] best: usize,
) -> Weighed {
    let (row, head) = (CUBE_POS_Z as usize, CUBE_POS_Y as usize);
    let k_head = row * k.stride(0) + head * k.stride(1);
    let v_head = row * v.stride(0) + head * v.stride(1);
    let fours = comptime!(d.div_ceil(4));
    let mut most = before.most;
    let mut norm = before.norm;
    let mut mass = before.mass;
    for at in 0..best {
        let cluster = lookup.cluster(chosen, at, best);
        if cluster < lookup.all {
            let members = lookup.members(order, cluster);
            let mut number = members.begin;
            while number < members.end {
                let mut scores = Array::<f32>::new(STEP);
                let mut tokens = Array::<u32>::new(STEP);
                let mut highest = most;
                #[unroll]
                for i in 0..STEP {
                    let token = order[min(number + i, members.end - 1)] as usize;
                    let token = members.first + token;
                    let k_row = k_head + token * k.stride(2);
                    let mut products = Four::new(0.0);
                    #[unroll]
                    for four in 0..fours {
                        products += own[four] * four_of::<F>(k, k_row, k.stride(3), 4 * four, d);
                    }
                    let mut score = sum_of(products);
                    if number + i >= members.end {
                        score = f32::new(HIDDEN);
                    }
                    tokens[i] = token as u32;
                    scores[i] = score;
                    highest = max(highest, score);
                }
                let kept = (most - highest).exp();
                most = highest;
                norm *= kept;
                mass *= kept;
                #[unroll]
                for i in 0..STEP {
                    let weight = (scores[i] - highest).exp();
                    norm += weight;
                    scores[i] = weight;
                }
                #[unroll]
                for four in 0..fours {
                    let mut values = sum[four] * Four::new(kept);
                    #[unroll]
                    for i in 0..STEP {
                        let v_row = v_head + tokens[i] as usize * v.stride(2);
                        values +=
                            four_of::<F>(v, v_row, v.stride(3), 4 * four, d) * Four::new(scores[i]);
                    }
                    sum[four] = values;
                }
                number += STEP;
            }
        }
    }
    Weighed { most, norm, mass }
}
