//! Exact attention to near tokens, and attention to the clusters of far chunks.

#[cfg(feature = "flex")]
mod backward;
#[cfg(feature = "flex")]
mod cache;
#[cfg(feature = "flex")]
mod choose;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
#[cfg(feature = "flex")]
mod far;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod forward;
mod grad;
#[cfg(feature = "flex")]
mod growing;
#[cfg(feature = "flex")]
mod kept;
#[cfg(feature = "flex")]
mod lookup;
#[cfg(feature = "flex")]
mod merged;
#[cfg(not(feature = "flex"))]
mod no_cache;
#[cfg(feature = "flex")]
mod opened;
#[cfg(any(feature = "flex", feature = "wgpu", feature = "cuda"))]
mod plan;
mod portable;
#[cfg(feature = "flex")]
mod queries;
mod rounding;
mod settings;
mod stored;
#[cfg(feature = "flex")]
mod summarise;
#[cfg(feature = "flex")]
mod tile;
#[cfg(feature = "flex")]
mod tokens;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::tensor::Tensor;
#[cfg(feature = "flex")]
pub use cache::{BlockCache, SharedBlockCache};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) use cube::{causal as causal_cube, causal_backward as causal_cube_backward};
#[cfg(not(feature = "flex"))]
pub use no_cache::BlockCache;
pub use rounding::round_to_bits;
pub use settings::{BlockAttention, HeadLevel, HeadLevels, KvBits, Spans, UnknownKvBits};
pub use stored::{StoredCacheError, StoredLists, StoredNumbers};

/// The states of [`block_attention`]: whether to use them, and their bases.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one a call, and only passed on
pub enum BlockStates {
    /// No states.
    Off,
    /// A D×D state of each far chunk.
    Whole,
    /// An r×r state of each far chunk, in bases `[H, D, r]` of keys and values.
    Compressed {
        /// U_k
        key: Tensor<3>,
        /// U_v
        value: Tensor<3>,
    },
}

/// [`BlockStates`] of a backend, or the gradients of their bases.
#[derive(Debug, Clone, ExtensionType)]
pub enum BlockStatesPrimitive<B: Backend> {
    /// No states.
    Off,
    /// A D×D state of each far chunk.
    Whole,
    /// An r×r state of each far chunk, in bases `[H, D, r]`.
    Compressed {
        /// U_k
        key: FloatTensor<B>,
        /// U_v
        value: FloatTensor<B>,
    },
}

impl<B: Backend> BlockStatesPrimitive<B> {
    /// The same form with other bases.
    fn map<T: Backend>(
        self,
        mut basis: impl FnMut(FloatTensor<B>) -> FloatTensor<T>,
    ) -> BlockStatesPrimitive<T> {
        match self {
            Self::Off => BlockStatesPrimitive::Off,
            Self::Whole => BlockStatesPrimitive::Whole,
            Self::Compressed { key, value } => BlockStatesPrimitive::Compressed {
                key: basis(key),
                value: basis(value),
            },
        }
    }
}

/// Block attention of a backend. Call it through [`block_attention`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait BlockAttentionOps: Backend {
    /// Output `[B, H, N, D]` from q, k, v `[B, H, N, D]`.
    fn block_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] states: BlockStatesPrimitive<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> FloatTensor<Self> {
        Self::block_attention_forward(q, k, v, states, settings, scale).0
    }

    /// The same, with the log-sum-exp of every query's scores `[B, H, N]`.
    fn block_attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] states: BlockStatesPrimitive<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        portable::forward::<Self>([q, k, v], states, settings, scale)
    }

    /// Gradients of q, k and v, and of the bases of states if any, from the inputs and outputs
    /// of the forward pass and the gradient `[B, H, N, D]` of the output.
    #[allow(clippy::too_many_arguments)] // a backend extension takes no tuple of tensors
    fn block_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] states: BlockStatesPrimitive<Self>,
        out: FloatTensor<Self>,
        lse: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        BlockStatesPrimitive<Self>,
    ) {
        // Only outputs of the graph's own operations can be used.
        let _ = (out, lse);
        portable::backward::<Self>([q, k, v], states, grad, settings, scale)
    }

    /// Output `[B, H, n, D]` of the next tokens of a cache, from their q, k, v `[B, H, n, D]`.
    ///
    /// The cache is in host memory, so other backends copy to and from the host.
    #[cfg(feature = "flex")]
    fn block_attention_cached(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        cache: SharedBlockCache,
        scale: f64,
    ) -> FloatTensor<Self> {
        cache::on_host::<Self>([q, k, v], &cache, scale)
    }

    /// [`block_attention`](Self::block_attention) by plain operations, on every backend.
    fn block_attention_plain(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] states: BlockStatesPrimitive<Self>,
        settings: BlockAttention,
        scale: f64,
    ) -> FloatTensor<Self> {
        portable::forward::<Self>([q, k, v], states, settings, scale).0
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl BlockAttentionOps for burn::backend::NdArray {}
#[cfg(feature = "remote")]
impl BlockAttentionOps for burn::backend::Remote {}

/// Exact attention to near tokens, and attention to far tokens by clusters and states.
///
/// `q`, `k`, `v` and the output are `[B, H, N, D]`. `settings` define which keys a query sees.
/// One softmax covers all of them:
///
/// - a token has the score `scale · q·k` and the value v;
/// - a cluster of m tokens with mean key k̄ and mean value v̄ has the score
///   `scale · q·k̄ + ln m` and the value v̄. The clusters are those of
///   [`split_into_clusters`](crate::split_into_clusters);
/// - with `exact_clusters` = t, the tokens of the t clusters with the highest scores replace
///   these clusters; ties go to the first;
/// - with [`Spans`], merged clusters count as clusters of all their tokens, and only those that a
///   query opens are replaced by their clusters, of which the t best may be looked up.
///
/// With states, and the softmax mass M on clusters, the output gains `M · scale · q S`. S is the
/// same for all queries of a chunk: the mean of the states of its far chunks, weighted by the
/// softmax of `scale · r·h`, where r is the query of the last token before the chunk, and h the
/// mean key of a far chunk. The state of a far chunk is (1/S) Σ (k − k̄) vᵀ over its tokens;
/// with bases it is stored as U_kᵀ F U_v.
///
/// No output depends on a later token.
///
/// q, k, v and the bases have gradients. Cluster assignments and the choice of looked-up
/// clusters are constants.
///
/// On the Flex backend with `f32` elements, both directions are one pass over each chunk, see
/// [`fuses_block_attention`]. They hold the summaries of a few heads and the scores of a block
/// of queries, take inputs with any strides, and give the same result on any number of threads.
/// The forward pass keeps the log-sum-exp of every query's scores; the backward pass recomputes
/// clusters, states and scores. The output is laid out as `[B, N, H, D]`.
///
/// On GPUs both directions, with up to 32 looked-up clusters, are kernels that keep no scores.
/// Clusters and summaries equal those of the host up to rounding. With fewer bits the kernels
/// hold rounded copies of k and v, in the type of k and v. Neighbouring heads of one level share
/// a pass.
///
/// With spans, GPUs have no kernels.
///
/// Elsewhere it equals [`block_attention_plain`], which needs memory for N² scores; its backward
/// pass also recomputes the forward pass.
///
/// # Panics
///
/// Panics if the shapes do not match, or if a setting is out of its range.
pub fn block_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    states: BlockStates,
    settings: BlockAttention,
    scale: f64,
) -> Tensor<4> {
    check(&q, &k, &v, &states, &settings);
    Tensor::from_dispatch(Dispatch::block_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        states.into_dispatch(),
        settings,
        scale,
    ))
}

/// [`block_attention`] composed of Burn's operations, with all scores in memory: the definition
/// with which tests compare the fused form. It is differentiable.
///
/// # Panics
///
/// Panics if the shapes do not match, or if a setting is out of its range.
pub fn block_attention_plain(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    states: BlockStates,
    settings: BlockAttention,
    scale: f64,
) -> Tensor<4> {
    check(&q, &k, &v, &states, &settings);
    Tensor::from_dispatch(Dispatch::block_attention_plain(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        states.into_dispatch(),
        settings,
        scale,
    ))
}

#[cfg(feature = "flex")]
impl BlockCache {
    /// Output `[B, H, n, D]` of the next tokens of the sequences, from their q, k and v
    /// `[B, H, n, D]`: equal to the output of [`block_attention`] without states for the whole
    /// sequences, however they are divided.
    ///
    /// # Panics
    ///
    /// Panics if the shapes do not match each other or those of earlier pieces.
    pub fn attend(&mut self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64) -> Tensor<4> {
        let settings = *self.settings();
        check(&q, &k, &v, &BlockStates::Off, &settings);
        let shared = SharedBlockCache::default();
        shared.hold(std::mem::replace(self, Self::new(settings)));
        let output = Tensor::from_dispatch(Dispatch::block_attention_cached(
            q.into_dispatch(),
            k.into_dispatch(),
            v.into_dispatch(),
            shared.clone(),
            scale,
        ));
        *self = shared.release().unwrap_or_else(|| Self::new(settings));
        output
    }
}

/// A cache for queries like `q`, if the blockwise cache is best for streaming: on the Flex
/// backend with `f32` elements.
#[cfg_attr(not(feature = "flex"), allow(unused_variables))]
pub fn block_cache(q: &Tensor<4>, settings: BlockAttention) -> Option<BlockCache> {
    #[cfg(feature = "flex")]
    if caches_blocks(q) {
        return Some(BlockCache::new(settings));
    }
    None
}

/// [`block_cache`] in which all tokens are seen exactly, with keys and values rounded to the
/// given bits.
#[cfg_attr(not(feature = "flex"), allow(unused_variables))]
pub fn dense_block_cache(q: &Tensor<4>, kv_bits: KvBits) -> Option<BlockCache> {
    #[cfg(feature = "flex")]
    if caches_blocks(q) {
        return Some(BlockCache::dense(kv_bits));
    }
    None
}

#[cfg(feature = "flex")]
fn caches_blocks(q: &Tensor<4>) -> bool {
    let flex = match q.device().without_autodiff().as_dispatch() {
        burn::backend::DispatchDevice::Flex(_) => true,
        #[allow(unreachable_patterns)] // with one backend compiled in
        _ => false,
    };
    flex && !q.is_autodiff() && q.dtype() == burn::tensor::DType::F32
}

/// Whether [`block_attention`] is fused for tensors like `x` `[B, H, N, D]`, in both directions.
#[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), allow(unused_variables))]
pub fn fuses_block_attention(x: &Tensor<4>, settings: &BlockAttention) -> bool {
    match x.device().without_autodiff().as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => x.dtype() == burn::tensor::DType::F32,
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        burn::backend::DispatchDevice::Cube(device) => {
            let [_, h, n, d] = x.dims();
            cube::fuses(device, x.dtype(), [h, n, d], settings)
        }
        #[allow(unreachable_patterns)] // with one backend compiled in
        _ => false,
    }
}

impl BlockStates {
    fn into_dispatch(self) -> BlockStatesPrimitive<Dispatch> {
        match self {
            Self::Off => BlockStatesPrimitive::Off,
            Self::Whole => BlockStatesPrimitive::Whole,
            Self::Compressed { key, value } => BlockStatesPrimitive::Compressed {
                key: key.into_dispatch(),
                value: value.into_dispatch(),
            },
        }
    }
}

fn check(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    states: &BlockStates,
    settings: &BlockAttention,
) {
    let dims @ [_, h, _, d] = q.dims();
    assert!(
        dims == k.dims() && dims == v.dims(),
        "block_attention: q {dims:?}, k {:?} and v {:?} do not match",
        k.dims(),
        v.dims()
    );
    if let BlockStates::Compressed { key, value } = states {
        assert!(
            key.dims() == value.dims() && key.dims()[..2] == [h, d],
            "block_attention: bases {:?} and {:?} do not match {h} heads of {d}",
            key.dims(),
            value.dims()
        );
    }
    let BlockAttention {
        grid,
        clusters,
        exact_clusters,
        spans,
        ..
    } = *settings;
    assert!(
        grid.chunk_size > 0
            && (clusters.is_power_of_two() || clusters == 0)
            && (clusters > 0 || (exact_clusters == 0 && spans.chunks == 0)),
        "block_attention: {settings:?} do not fit together"
    );
}
