//! The product of rows and a weight in bf16, and its gradients, for training on the CPU.
//!
//! Each of the three products rounds both factors to bf16 and sums in f32. The weight is packed for
//! the forward pass and for the gradient of the rows by [`Bf16Weight`], once for all rows that it is
//! multiplied with. The factors of its own gradient are packed in the backward pass.

#[cfg(feature = "flex")]
mod flex;
mod grad;
mod portable;

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Device, Tensor};

use crate::packed_linear::{PackedLinear, ProductType, WeightLayout};

/// Products in bf16 of a backend. Call them through [`bf16_matmul`].
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(any(feature = "wgpu", feature = "cuda")),
    Remote: cfg(feature = "remote"),
    Autodiff
)]
pub trait Bf16MatmulOps: Backend {
    /// x `[N, K]` times weight `[K, M]`, both rounded to bf16, in f32. `[N, M]`
    fn bf16_matmul(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        packed: Bf16Weight,
    ) -> FloatTensor<Self> {
        let x = Self::rounded_to_bf16(x);
        Self::bf16_matmul_rounded(x, weight, packed)
    }

    /// x in bf16.
    fn rounded_to_bf16(x: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::rounded::<Self>(x)
    }

    /// Same as [`Self::bf16_matmul`], from x in bf16.
    fn bf16_matmul_rounded(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _packed: Bf16Weight,
    ) -> FloatTensor<Self> {
        portable::product::<Self>(x, weight)
    }

    /// The gradient of x `[N, K]` from that of the output `[N, M]` in bf16: its product with the
    /// transposed weight.
    fn bf16_matmul_row_grad(
        grad: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        _packed: Bf16Weight,
    ) -> FloatTensor<Self> {
        portable::product::<Self>(grad, Self::float_transpose(weight))
    }

    /// The gradient of the weight `[K, M]`: the product of the transposed x with the gradient of the
    /// output, both in bf16.
    fn bf16_matmul_weight_grad(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        portable::product::<Self>(Self::float_transpose(x), grad)
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // Burn keeps the backend for now
impl Bf16MatmulOps for burn::backend::NdArray {}
#[cfg(any(feature = "wgpu", feature = "cuda"))]
impl Bf16MatmulOps for burn::backend::Cube {}
#[cfg(feature = "remote")]
impl Bf16MatmulOps for burn::backend::Remote {}

/// A weight rounded to bf16, packed for [`bf16_matmul`] and for the gradient of its rows. A clone
/// shares it.
#[derive(Clone, Debug)]
pub struct Bf16Weight(Option<Arc<[PackedLinear; 2]>>);

impl Bf16Weight {
    /// Packs a weight `[in, out]` of any floating-point type.
    ///
    /// Nothing is packed if the weight is not on the CPU backend Flex, or if the processor has
    /// neither AVX512-BF16 nor AVX2. Products then round and multiply by other operations.
    pub fn new(weight: &Tensor<2>) -> Self {
        Self::of(weight, [WeightLayout::InOut, WeightLayout::OutIn])
    }

    /// Packs the weight `[out, in]` of an output layer, such as a table of embeddings, for
    /// [`linear_cross_entropy_bf16`](crate::linear_cross_entropy_bf16). Otherwise the same as
    /// [`Self::new`].
    pub fn of_table(table: &Tensor<2>) -> Self {
        Self::of(table, [WeightLayout::OutIn, WeightLayout::InOut])
    }

    /// Packs a weight for the forward pass and for the gradient of its rows.
    fn of(weight: &Tensor<2>, layouts: [WeightLayout; 2]) -> Self {
        let [forward, backward] =
            layouts.map(|layout| PackedLinear::new(weight, None, layout, ProductType::Bf16));
        let both = forward.zip(backward);
        Self(both.map(|(forward, backward)| Arc::new([forward, backward])))
    }

    /// The layers of the forward pass and of the gradient of its rows, if packed.
    pub(crate) fn layers(&self) -> Option<[&PackedLinear; 2]> {
        self.0
            .as_deref()
            .map(|[forward, backward]| [forward, backward])
    }

    /// The size in bytes of the packed forms; 0 if nothing is packed.
    pub fn bytes(&self) -> usize {
        let forms = self.0.iter().flat_map(|forms| forms.iter());
        forms.map(PackedLinear::bytes).sum()
    }
}

/// `x · weight` in f32, with both rounded to bf16.
///
/// `x` is `[N, K]`, `weight` is `[K, M]`, and the output is `[N, M]`. `packed` is the packed form of
/// this weight. The products of the gradients round their factors to bf16 too, and the gradients are
/// in f32. The backward pass keeps `x` in bf16. All sums are in f32, in an order that does not
/// depend on the number of threads.
///
/// The device must support bf16. On others than Flex, and on processors without AVX2,
/// rounded numbers are multiplied in f32.
///
/// # Panics
///
/// Panics if the length of a row of `x` is not the number of rows of `weight`, or if `packed` is of
/// a weight of another shape.
pub fn bf16_matmul(x: Tensor<2>, weight: Tensor<2>, packed: &Bf16Weight) -> Tensor<2> {
    check_shapes(&x, &weight);
    if let Some([forward, _]) = packed.layers() {
        assert!(
            [forward.inputs(), forward.outputs()] == weight.dims(),
            "bf16_matmul: weight {:?} and a packed one of [{}, {}] do not match",
            weight.dims(),
            forward.inputs(),
            forward.outputs()
        );
    }
    Tensor::from_dispatch(Dispatch::bf16_matmul(
        x.into_dispatch(),
        weight.into_dispatch(),
        packed.clone(),
    ))
}

/// [`bf16_matmul`] composed of Burn's operations: the definition with which tests compare the fused
/// form. The gradients of that form are this product of the output's gradient and the transposed
/// weight, and of the transposed `x` and the output's gradient.
///
/// # Panics
///
/// Panics if the length of a row of `x` is not the number of rows of `weight`.
pub fn bf16_matmul_plain(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    check_shapes(&x, &weight);
    let [x, weight] = [x, weight].map(|x| x.cast(DType::BF16).cast(DType::F32));
    x.matmul(weight)
}

/// Whether training in bf16 on `device` is faster with [`bf16_matmul`] and everything else in f32
/// than with all tensors in bf16.
pub fn prefers_bf16_matmul(device: &Device) -> bool {
    match device.clone().without_autodiff().as_dispatch() {
        #[cfg(feature = "flex")]
        burn::backend::DispatchDevice::Flex(_) => true,
        #[allow(unreachable_patterns)] // with one backend compiled in
        _ => false,
    }
}

fn check_shapes(x: &Tensor<2>, weight: &Tensor<2>) {
    assert!(
        x.dims()[1] == weight.dims()[0],
        "bf16_matmul: x {:?} and weight {:?} do not match",
        x.dims(),
        weight.dims()
    );
}
