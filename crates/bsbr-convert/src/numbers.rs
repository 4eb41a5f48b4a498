//! Conversion of elements from and to bytes.

use burn::tensor::{DType, TensorData};
use half::{bf16, f16};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

/// Whether weights can be of this type.
pub(crate) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
}

/// Little-endian elements as f32; empty for a type that [`is_float`] refuses.
pub(crate) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F32 => convert(bytes, f32::from_le_bytes),
        Dtype::F16 => convert(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => convert(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => convert(bytes, |b| f64::from_le_bytes(b) as f32),
        _ => Vec::new(),
    }
}

/// Little-endian elements in their own type, or f32 for a type that is not a [`FloatType`].
pub(crate) fn to_data(dtype: Dtype, bytes: &[u8], shape: &[usize]) -> TensorData {
    let shape = shape.to_vec();
    match dtype {
        Dtype::F16 => TensorData::new(convert(bytes, f16::from_le_bytes), shape),
        Dtype::BF16 => TensorData::new(convert(bytes, bf16::from_le_bytes), shape),
        _ => TensorData::new(to_f32(dtype, bytes), shape),
    }
}

/// Whether the numbers of a tensor are usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// All are usable.
    Usual,
    /// One is so large that its square is infinite in f32, which norms and products use: the result
    /// would depend on the order of sums.
    TooLarge,
    /// One is NaN or infinite, or becomes so in f32.
    NonFinite,
}

/// The largest number whose square is finite, a little below the square root of `f32::MAX`.
const LARGEST: f32 = 1.8e19;

/// The range of little-endian elements.
pub(crate) fn range(dtype: Dtype, bytes: &[u8]) -> Range {
    if within(dtype, bytes, LARGEST) {
        Range::Usual
    } else if within(dtype, bytes, f32::MAX) {
        Range::TooLarge
    } else {
        Range::NonFinite
    }
}

/// Whether all numbers are from -`most` to `most` as f32.
fn within(dtype: Dtype, bytes: &[u8], most: f32) -> bool {
    match dtype {
        Dtype::F32 => all(bytes, |b| f32::from_le_bytes(b).abs() <= most),
        Dtype::F16 => all(bytes, |b| f16::from_le_bytes(b).is_finite()),
        Dtype::BF16 => all(bytes, |b| bf16::from_le_bytes(b).to_f32().abs() <= most),
        Dtype::F64 => all(bytes, |b| (f64::from_le_bytes(b) as f32).abs() <= most),
        _ => true,
    }
}

fn convert<T, const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|bytes| element(*bytes)).collect()
}

fn all<const N: usize>(bytes: &[u8], is_so: impl Fn([u8; N]) -> bool) -> bool {
    let (elements, _) = bytes.as_chunks::<N>();
    // No early exit from the inner loop, so it is vectorised.
    elements
        .chunks(1024)
        .all(|part| part.iter().fold(true, |all, bytes| all & is_so(*bytes)))
}

/// Element types of weights, and of computation in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatType {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 10 of them the fraction; at most 65504.
    F16,
    /// The upper 16 bits of an f32.
    Bf16,
}

impl FloatType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Its name in a safetensors header.
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// The type of that name in a safetensors header, if any.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.dtype() == dtype)
    }

    /// Whether it has 16 bits.
    pub fn is_half(self) -> bool {
        self != Self::F32
    }

    /// Its name in Burn.
    pub fn burn_dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Its name in `config.json`.
    pub(crate) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Its name in commands and records: `f32`, `f16` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        self.dtype().bitsize() / 8
    }

    /// The elements rounded to the nearest, little-endian.
    pub(crate) fn to_bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => encode(values, f32::to_le_bytes),
            Self::F16 => encode(values, |v| f16::from_f32(v).to_le_bytes()),
            Self::Bf16 => encode(values, |v| bf16::from_f32(v).to_le_bytes()),
        }
    }

    /// The first finite value that becomes infinite when rounded to this type.
    pub(crate) fn first_overflow(self, values: &[f32]) -> Option<f32> {
        let overflows = |v: f32| match self {
            Self::F32 => false,
            Self::F16 => f16::from_f32(v).is_infinite(),
            Self::Bf16 => bf16::from_f32(v).is_infinite(),
        };
        values
            .iter()
            .copied()
            .find(|&v| v.is_finite() && overflows(v))
    }
}

fn encode<const N: usize>(values: &[f32], element: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * N];
    let (slots, _) = bytes.as_chunks_mut::<N>();
    for (slot, value) in slots.iter_mut().zip(values) {
        *slot = element(*value);
    }
    bytes
}
