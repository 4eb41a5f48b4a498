//! Helpers of the arms' tests.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

use bsbr_attention::{
    ArmConfig, Attention, AttentionInput, Cache, CompressionBases, DenseConfig, HeadShape, KvBits,
    LocalConfig, MomentsConfig, Padding, PublishedConfig,
};
use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// The device that `BURN_DEVICE` names, or the only one.
pub fn test_device() -> Device {
    Device::default()
}

/// Whether a test tries a few of its cases: where another device than the default is asked for.
/// Thousands of tiny operations take minutes on a GPU, on a driver that stands in for one, and in a
/// build without optimisation.
pub fn tries_few() -> bool {
    std::env::var("BURN_DEVICE").is_ok_and(|device| device != "flex")
}

/// A small generator, so that every backend gets the same numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Normal with standard deviation 1.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }

    pub fn tensor<const K: usize>(&mut self, dims: [usize; K], device: &Device) -> Tensor<K> {
        let data: Vec<f32> = (0..dims.iter().product()).map(|_| self.normal()).collect();
        Tensor::from_data(TensorData::new(data, dims), device)
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub batch: usize,
    pub heads: usize,
    pub tokens: usize,
    pub head_dim: usize,
}

impl Sizes {
    pub fn shape(&self) -> HeadShape {
        HeadShape {
            num_heads: self.heads,
            head_dim: self.head_dim,
            hidden_size: self.heads * self.head_dim,
        }
    }
}

/// Random input without padding.
pub fn input(sizes: Sizes, seed: u64, device: &Device) -> AttentionInput {
    let Sizes {
        batch,
        heads,
        tokens,
        head_dim,
    } = sizes;
    let mut random = Random::new(seed);
    let dims = [batch, heads, tokens, head_dim];
    AttentionInput {
        query: random.tensor(dims, device) * 1.5,
        key: random.tensor(dims, device) + 0.5,
        value: random.tensor(dims, device),
        hidden_states: random.tensor([batch, tokens, heads * head_dim], device),
        scale: 1.0 / (head_dim as f64).sqrt(),
        padding: Padding::none(),
    }
}

/// An arm with random parameters where it has any.
pub fn arm(config: &ArmConfig, sizes: Sizes, device: &Device) -> Attention {
    let mut random = Random::new(77);
    let hidden = sizes.heads * sizes.head_dim;
    let mut attention = Attention::new(config.clone(), sizes.shape(), device)
        .expect("valid settings")
        .init_from_projection(
            random.tensor([hidden, 3 * hidden], device) * 0.3,
            random.tensor([3 * hidden], device) * 0.1,
        );
    if let Some(tuning) = &mut attention.tuning {
        let mut moved = |at: f64| {
            let values = random.tensor([sizes.heads], device) * 0.3 + at;
            Param::from_tensor(values)
        };
        tuning.temperature = moved(1.0);
        tuning.bias = moved(0.0);
        tuning.gain = tuning.gain.is_some().then(|| moved(1.0));
    }
    match config.compression() {
        1 => attention,
        factor => {
            let rank = bsbr_attention::config::compressed_rank(sizes.head_dim, factor);
            let mut basis = || orthonormal(sizes.heads, sizes.head_dim, rank, &mut random, device);
            attention.with_bases(CompressionBases::new(basis(), basis()))
        }
    }
}

/// Random orthonormal columns, by Gram–Schmidt. `[H, D, r]`
fn orthonormal(
    heads: usize,
    d: usize,
    rank: usize,
    random: &mut Random,
    device: &Device,
) -> Tensor<3> {
    let mut data = vec![0.0f32; heads * d * rank];
    for head in 0..heads {
        let mut columns: Vec<Vec<f32>> = Vec::new();
        while columns.len() < rank {
            let mut x: Vec<f32> = (0..d).map(|_| random.normal()).collect();
            for column in &columns {
                let along: f32 = x.iter().zip(column).map(|(a, b)| a * b).sum();
                x.iter_mut().zip(column).for_each(|(a, b)| *a -= along * b);
            }
            let length = x.iter().map(|a| a * a).sum::<f32>().sqrt();
            columns.push(x.iter().map(|a| a / length).collect());
        }
        for (r, column) in columns.iter().enumerate() {
            for (i, value) in column.iter().enumerate() {
                data[(head * d + i) * rank + r] = *value;
            }
        }
    }
    Tensor::from_data(TensorData::new(data, [heads, d, rank]), device)
}

pub fn local(chunk_size: usize, near_chunks: usize, sink_tokens: usize) -> ArmConfig {
    ArmConfig::Local(LocalConfig {
        chunk_size,
        near_chunks,
        sink_tokens,
    })
}

pub fn published(chunk_size: usize, compression: usize) -> ArmConfig {
    ArmConfig::Published(PublishedConfig {
        chunk_size,
        compression,
    })
}

pub fn moments(chunk_size: usize, near_chunks: usize, sink_tokens: usize) -> MomentsConfig {
    MomentsConfig {
        chunk_size,
        near_chunks,
        sink_tokens,
        clusters: 2,
        ..MomentsConfig::summaries()
    }
}

/// The moments arm with other settings, as they are typed.
pub fn with(config: &MomentsConfig, settings: &str) -> ArmConfig {
    let mut arm = ArmConfig::Moments(config.clone());
    for setting in settings.split(',') {
        let (name, value) = setting.split_once('=').expect("a setting and its value");
        arm.set(name, value).expect("a setting of the arm");
    }
    arm
}

/// Every arm, in small settings that differ where it matters.
pub fn arms() -> Vec<ArmConfig> {
    let base = moments(4, 1, 2);
    let first = [
        "chunk_size=3,near_chunks=0,sink_tokens=0,clusters=4",
        "sink_tokens=0,clusters=4,state=false,exact_clusters=3",
        "compression=4",
        "learned=true,state=false,exact_clusters=1",
        "clusters=4,state=false,exact_clusters=2,kv_bits=8,levels=clusters+lookups",
        "chunk_size=3,near_chunks=0,clusters=4,state=false,exact_clusters=2,span=2,opened=3",
    ];
    let others = [
        "chunk_size=3,near_chunks=0,clusters=4,span=3,opened=1",
        "chunk_size=3,near_chunks=0,clusters=4,exact_clusters=2,span=2,opened=3,learned=true,\
         kv_bits=8,levels=lookups+clusters",
        "clusters=1",
        "clusters=4,state=false",
        "chunk_size=5,near_chunks=2,sink_tokens=1,clusters=8",
        "exact_clusters=1",
        "learned=true",
        "exact_clusters=1,kv_bits=4,levels=lookups+clusters",
        "compression=4,exact_clusters=2,kv_bits=16,levels=lookups+near",
        "learned=true,exact_clusters=2,kv_bits=8,levels=near+lookups",
        "chunk_size=1,clusters=1",
    ];
    let with = |settings: &str| with(&base, settings);
    let mut arms = vec![ArmConfig::DENSE, local(4, 1, 2), published(4, 1)];
    arms.push(ArmConfig::Moments(base.clone()));
    arms.extend(first.map(with));
    if !tries_few() {
        let kv_bits = KvBits::Eight;
        arms.extend([local(3, 0, 0), local(5, 2, 3), published(3, 4)]);
        arms.push(ArmConfig::Dense(DenseConfig { kv_bits }));
        arms.extend(others.map(with));
    }
    arms
}

/// Those that round nothing, so that outputs are smooth and made of the values themselves.
pub fn exact_arms() -> Vec<ArmConfig> {
    let exact = |arm: &ArmConfig| arm.kv_bits() == KvBits::ThirtyTwo;
    arms().into_iter().filter(exact).collect()
}

/// Largest |a − b| over the largest |b|, or over 0.01 where all of b is rounding noise.
pub fn relative_error<const K: usize>(a: &Tensor<K>, b: &Tensor<K>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let largest = b.clone().abs().max().into_scalar::<f32>();
    (a.clone() - b.clone()).abs().max().into_scalar::<f32>() / largest.max(1e-2)
}

#[track_caller]
pub fn assert_close<const K: usize>(a: &Tensor<K>, b: &Tensor<K>, tolerance: f32, what: &str) {
    let error = relative_error(a, b);
    assert!(
        error <= tolerance,
        "{what}: relative error {error} > {tolerance}"
    );
}

/// Tokens `start..start + n` of an input, without padding.
pub fn piece(input: &AttentionInput, start: usize, n: usize) -> AttentionInput {
    AttentionInput {
        query: input.query.clone().narrow(2, start, n),
        key: input.key.clone().narrow(2, start, n),
        value: input.value.clone().narrow(2, start, n),
        hidden_states: input.hidden_states.clone().narrow(1, start, n),
        scale: input.scale,
        padding: Padding::none(),
    }
}

/// One row of an input without its `left` tokens of padding.
pub fn alone(input: &AttentionInput, row: usize, left: usize) -> AttentionInput {
    let mut one = piece(input, left, input.query.dims()[2] - left);
    one.query = one.query.narrow(0, row, 1);
    one.key = one.key.narrow(0, row, 1);
    one.value = one.value.narrow(0, row, 1);
    one.hidden_states = one.hidden_states.narrow(0, row, 1);
    one
}

/// The input with another token at one place, and in another type.
pub fn changed(input: &AttentionInput, token: Option<usize>, dtype: DType) -> AttentionInput {
    let mut random = Random::new(4321);
    let mut other = |x: &Tensor<4>| {
        let [b, h, _, d] = x.dims();
        let x = match token {
            None => x.clone(),
            Some(t) => {
                let own = random.tensor([b, h, 1, d], &x.device()) * 3.0;
                x.clone().slice_assign([0..b, 0..h, t..t + 1, 0..d], own)
            }
        };
        x.cast(dtype)
    };
    let hidden = input.hidden_states.clone().unsqueeze_dim(1);
    AttentionInput {
        query: other(&input.query),
        key: other(&input.key),
        value: other(&input.value),
        hidden_states: other(&hidden).squeeze_dim(1),
        ..input.clone()
    }
}

/// Output in pieces of the sizes of `pieces`, over and over; only the first is padded.
pub fn streamed(attention: &Attention, input: &AttentionInput, pieces: &[usize]) -> Tensor<4> {
    let tokens = input.query.dims()[2];
    let mut cache = Cache::new();
    let (mut outputs, mut start) = (Vec::new(), 0);
    let mut sizes = pieces.iter().cycle();
    while start < tokens {
        let n = sizes.next().copied().unwrap_or(1).min(tokens - start);
        let mut part = piece(input, start, n);
        if start == 0 {
            part.padding = input.padding.clone();
        }
        outputs.push(attention.forward_cached(part, &mut cache));
        start += n;
    }
    Tensor::cat(outputs, 2)
}

/// Numbers of a tensor, bit for bit.
pub fn bits<const K: usize>(x: &Tensor<K>) -> Vec<u32> {
    x.to_data().iter::<f32>().map(f32::to_bits).collect()
}
