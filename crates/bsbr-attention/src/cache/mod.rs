//! Streaming: the cache of a layer.

mod block;
mod dense;
mod growing;
mod published;
mod stored;
mod window;

use bsbr_kernels::BlockCache;
use burn::tensor::{Int, Tensor, TensorData};

use crate::attention::{Attention, AttentionInput};
use crate::config::ArmConfig;
use crate::padding::Padding;

use dense::DenseCache;
use published::PublishedCache;
use window::WindowCache;

/// The cache of one layer's attention between pieces of a batch of sequences.
///
/// | arm | kept |
/// |---|---|
/// | dense | all keys and values |
/// | local | keys and values of sinks and near field |
/// | published | keys and values of the own chunk; K_bᵀV_b and h_b of each earlier chunk; the state that the own chunk reads |
/// | moments | keys and values of sinks and near field; the summary of each far chunk; the state that the own chunk reads; with exact clusters also the keys and values of far chunks, in `kv_bits`; with a learned routing also the attention inputs of the near field and h_b of each far chunk |
///
/// On the CPU, and without states, far keys and values are stored in that many bits, and means in
/// 16. Elsewhere they are rounded in the same way, but stored in the type of the tensors.
///
/// A chunk is summarised, and its keys and values are dropped, when the first chunk begins for
/// which it is far. Rows of unequal length are at different positions of their chunks, so only rows
/// of equal length are stored together.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    groups: Vec<Group>,
}

/// Rows of one length.
#[derive(Debug, Clone)]
struct Group {
    rows: Vec<usize>,
    tokens: usize,
    kept: Kept,
}

#[derive(Debug, Clone)]
enum Kept {
    Block(Box<BlockCache>),
    Dense(Box<DenseCache>),
    Window(Box<WindowCache>),
    Published(Box<PublishedCache>),
}

impl Cache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no piece has been fed yet.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The number of real tokens that row `row` has seen.
    pub fn tokens(&self, row: usize) -> usize {
        self.groups
            .iter()
            .find(|group| group.rows.contains(&row))
            .map_or(0, |group| group.tokens)
    }

    /// The size in bytes, over all rows and heads. Unused room of growing buffers is not counted.
    pub fn bytes(&self) -> usize {
        self.groups
            .iter()
            .map(|group| match &group.kept {
                Kept::Block(kept) => kept.bytes(),
                Kept::Dense(kept) => kept.bytes(),
                Kept::Window(kept) => kept.bytes(),
                Kept::Published(kept) => kept.bytes(),
            })
            .sum()
    }
}

/// Appends to what a cache holds, if anything, and returns all of it.
fn add<T>(held: &mut Option<T>, later: T, append: impl FnOnce(T, T) -> T) -> &T {
    let all = match held.take() {
        None => later,
        Some(before) => append(before, later),
    };
    held.insert(all)
}

/// `later` after `before`, along dimension 2.
fn joined<const K: usize>(before: Tensor<K>, later: Tensor<K>) -> Tensor<K> {
    Tensor::cat(vec![before, later], 2)
}

/// Bytes of a tensor.
pub(crate) fn bytes_of<const K: usize>(tensor: &Tensor<K>) -> usize {
    tensor.dims().iter().product::<usize>() * tensor.dtype().size()
}

impl Kept {
    /// An empty group for such queries.
    fn new(attention: &Attention, query: &Tensor<4>) -> Self {
        if let Some(kept) = block::cache(attention, query) {
            return Self::Block(Box::new(kept));
        }
        match attention.config() {
            ArmConfig::Dense(config) => Self::Dense(Box::new(DenseCache::new(config))),
            ArmConfig::Local(config) => {
                Self::Window(Box::new(WindowCache::new(config.grid(), None)))
            }
            ArmConfig::Moments(config) => Self::Window(Box::new(WindowCache::new(
                config.grid(),
                Some(config.clone()),
            ))),
            ArmConfig::Published(config) => {
                Self::Published(Box::new(PublishedCache::new(config.clone())))
            }
        }
    }

    fn feed(&mut self, attention: &Attention, piece: AttentionInput) -> Tensor<4> {
        let bases = attention.bases.as_ref();
        match self {
            Self::Block(kept) => kept.attend(piece.query, piece.key, piece.value, piece.scale),
            Self::Dense(kept) => kept.feed(piece),
            Self::Window(kept) => kept.feed(attention.own(), piece),
            Self::Published(kept) => kept.feed(attention.routing.as_ref(), bases, piece),
        }
    }
}

impl Attention {
    /// Attention output of the next tokens of the sequences in `cache`.
    ///
    /// Feeding a sequence in pieces of any size gives the output of [`forward`](Self::forward) on
    /// the whole. The first piece may be left-padded, and fixes the number of rows and which have
    /// equal lengths. Later pieces add the same number of real tokens to each row, and their
    /// padding is ignored. A cache belongs to one layer and one arm.
    ///
    /// # Shapes
    ///
    /// - output: `[B, H, n, D]` for a piece of n tokens; rows of padding tokens are zero
    ///
    /// # Panics
    ///
    /// If a later piece has a different number of rows from the first.
    pub fn forward_cached(&self, input: AttentionInput, cache: &mut Cache) -> Tensor<4> {
        let [batch, _, length, _] = input.query.dims();
        let first = cache.is_empty();
        let padding = if first {
            input.padding.clone()
        } else {
            Padding::none()
        };
        if first {
            cache.groups = groups_of(&padding, &input.query, self);
        }
        let rows: usize = cache.groups.iter().map(|group| group.rows.len()).sum();
        assert_eq!(rows, batch, "rows of a piece and of its cache");

        if let [group] = cache.groups.as_mut_slice() {
            let before = padding.of_row(0).min(length);
            return group.feed(self, input, before);
        }
        let mut outputs = Vec::with_capacity(cache.groups.len());
        let mut order: Vec<usize> = Vec::with_capacity(batch);
        for group in &mut cache.groups {
            let before = padding.of_row(group.rows[0]).min(length);
            outputs.push(group.feed(self, rows_of(&input, &group.rows), before));
            order.extend(&group.rows);
        }
        let mut place = vec![0; batch];
        for (from, &row) in order.iter().enumerate() {
            place[row] = from;
        }
        let device = input.query.device();
        Tensor::cat(outputs, 0).select(0, indices(&place, &device))
    }
}

impl Group {
    /// Feeds a piece whose first `before` tokens are padding.
    fn feed(
        &mut self,
        attention: &Attention,
        mut piece: AttentionInput,
        before: usize,
    ) -> Tensor<4> {
        let [b, h, length, d] = piece.query.dims();
        let real = length - before;
        let (device, dtype) = (piece.query.device(), piece.query.dtype());
        if real == 0 {
            return Tensor::zeros([b, h, length, d], (&device, dtype));
        }
        if before > 0 {
            piece = piece.map(|x| x.narrow(2, before, real));
        }
        self.tokens += real;
        let output = self.kept.feed(attention, piece);
        if before == 0 {
            return output;
        }
        let zeros = Tensor::zeros([b, h, before, d], (&device, dtype));
        Tensor::cat(vec![zeros, output], 2)
    }
}

/// One group per distinct padding, in the order in which they appear.
fn groups_of(padding: &Padding, query: &Tensor<4>, attention: &Attention) -> Vec<Group> {
    let [batch, _, length, _] = query.dims();
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for row in 0..batch {
        let before = padding.of_row(row).min(length);
        match groups.iter_mut().find(|(padding, _)| *padding == before) {
            Some((_, group)) => group.rows.push(row),
            None => groups.push((
                before,
                Group {
                    rows: vec![row],
                    tokens: 0,
                    kept: Kept::new(attention, query),
                },
            )),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn rows_of(input: &AttentionInput, rows: &[usize]) -> AttentionInput {
    let rows = indices(rows, &input.query.device());
    input.clone().map(|x| x.select(0, rows.clone()))
}

fn indices(rows: &[usize], device: &burn::tensor::Device) -> Tensor<1, Int> {
    let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}
