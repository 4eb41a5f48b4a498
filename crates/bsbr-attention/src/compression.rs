//! Bases for D×D states of smaller rank.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};

/// Orthonormal bases U_k and U_v, per head: a state F is stored as U_kᵀ F U_v.
///
/// They come from calibration data, see [`Calibration`](crate::Calibration).
#[derive(Module, Debug)]
pub struct CompressionBases {
    /// U_k: main directions of the queries. `[H, D, r]`
    pub key: Param<Tensor<3>>,
    /// U_v: main directions of the centred values. `[H, D, r]`
    pub value: Param<Tensor<3>>,
}

impl CompressionBases {
    /// Bases whose columns are orthonormal.
    ///
    /// # Shapes
    ///
    /// - key, value: `[H, D, r]`
    pub fn new(key: Tensor<3>, value: Tensor<3>) -> Self {
        let fixed = |basis: Tensor<3>| Param::from_tensor(basis).set_require_grad(false);
        Self {
            key: fixed(key),
            value: fixed(value),
        }
    }

    /// Bases of NaN, to be loaded or calibrated. Everything computed with them is NaN, so
    /// a missing calibration is noticed.
    pub fn uncalibrated(heads: usize, head_dim: usize, rank: usize, device: &Device) -> Self {
        let basis = || Tensor::full([heads, head_dim, rank], f32::NAN, device);
        Self::new(basis(), basis())
    }

    /// r, columns of a basis.
    pub fn rank(&self) -> usize {
        self.key.dims()[2]
    }

    /// x U_k. `[B, H, C, n, D]` → `[B, H, C, n, r]`
    pub fn project_keys(&self, x: Tensor<5>) -> Tensor<5> {
        x.matmul(lift(&self.key))
    }

    /// x U_v. `[B, H, C, n, D]` → `[B, H, C, n, r]`
    pub fn project_values(&self, x: Tensor<5>) -> Tensor<5> {
        x.matmul(lift(&self.value))
    }

    /// y U_vᵀ. `[B, H, C, n, r]` → `[B, H, C, n, D]`
    pub fn restore_values(&self, y: Tensor<5>) -> Tensor<5> {
        y.matmul(lift(&self.value).swap_dims(3, 4))
    }
}

/// `[H, D, r]` → `[1, H, 1, D, r]`
fn lift(basis: &Param<Tensor<3>>) -> Tensor<5> {
    basis
        .val()
        .cast(DType::F32)
        .unsqueeze_dim::<4>(1)
        .unsqueeze()
}

/// q S, through the bases if there are any.
///
/// # Shapes
///
/// - query: `[B, H, C, n, D]`
/// - state: `[B, H, C, D, D]`, or `[B, H, C, r, r]` with bases
/// - output: `[B, H, C, n, D]`
pub(crate) fn read_state(
    query: Tensor<5>,
    state: Tensor<5>,
    bases: Option<&CompressionBases>,
) -> Tensor<5> {
    let dtype = query.dtype();
    let query = query.cast(DType::F32);
    let read = match bases {
        None => query.matmul(state),
        Some(bases) => bases.restore_values(bases.project_keys(query).matmul(state)),
    };
    read.cast(dtype)
}

/// Keys and values above this are scaled down before multiplication.
const LARGE: f64 = 1e17;
/// The largest number of a state: a query that is as small as keys are large can be
/// multiplied by it.
const LARGEST: f64 = 1e30;

/// KᵀV of each chunk. Numbers too large for `f32` become the largest number of a state.
///
/// # Shapes
///
/// - keys: `[B, H, C, S, i]`
/// - values: `[B, H, C, S, j]`
/// - output: `[B, H, C, i, j]`
pub(crate) fn outer_sums(keys: Tensor<5>, values: Tensor<5>) -> Tensor<5> {
    let excess = |x: &Tensor<5>| {
        let most = x.clone().detach().abs().max_dim(4).max_dim(3);
        (most / LARGE).clamp_min(1.0)
    };
    let (of_keys, of_values) = (excess(&keys), excess(&values));
    let sums = (keys / of_keys.clone())
        .swap_dims(3, 4)
        .matmul(values / of_values.clone());
    let bounded = |x: Tensor<5>| x.clamp(-LARGEST, LARGEST);
    bounded(bounded(sums * of_keys) * of_values)
}
