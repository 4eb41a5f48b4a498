//! The operation on the Flex backend.

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::ops::FloatTensorOps;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Bytes, DType, Shape, bf16, f16};

use super::{MixedMatmulOps, few, many};
use crate::cpu::number::Number;
use crate::cpu::tensor::{contiguous, dense, elements, is_f32};

/// Up to this number of rows, products are bound by reading the weight, and are summed directly
/// from memory. More rows gain from panels in cache and registers.
const FEW: usize = 2;
/// The same for a table, whose panels have to be transposed.
const FEW_OF_TABLE: usize = 12;
/// Up to this number of rows, Burn's product in one type reads the weight in the order of the
/// output, a piece of each row at a time, and waits for memory each time. With more, it also uses
/// panels.
const LOOSE: usize = 96;
/// The same for a table.
const LOOSE_OF_TABLE: usize = 8;
/// The smallest size of a weight that exceeds a core's own cache.
const LARGE: usize = 1 << 20;

impl MixedMatmulOps for Flex {
    fn mixed_matmul(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        match (is_f32(&x), weight.dtype()) {
            (true, DType::BF16) => product(x, laid_out(weight), FlexTensor::storage::<bf16>),
            (true, DType::F16) => product(x, laid_out(weight), FlexTensor::storage::<f16>),
            (true, DType::F32) if is_loose(&x, &weight) => {
                product(x, weight, FlexTensor::storage::<f32>)
            }
            _ => {
                let weight = Self::float_cast(weight, x.dtype().into());
                Self::float_matmul(x, weight)
            }
        }
    }
}

/// Whether Burn's form of a product in one type is slower.
fn is_loose(x: &FlexTensor, weight: &FlexTensor) -> bool {
    let (n, strides) = (x.shape()[0], weight.layout().strides());
    let most = match (strides[0], strides[1]) {
        (1.., 1) => LOOSE,
        (1, 1..) => LOOSE_OF_TABLE,
        _ => 0,
    };
    n <= most && weight.layout().num_elements() >= LARGE
}

/// A matrix whose rows are contiguous.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a, T> {
    data: &'a [T],
    pub(super) height: usize,
    pub(super) width: usize,
    stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// `len` elements of a row from `start` on.
    #[inline(always)]
    pub(super) fn part(&self, row: usize, start: usize, len: usize) -> &'a [T] {
        let from = row * self.stride + start;
        &self.data[from..from + len]
    }
}

/// The tensor itself if its rows or its columns are contiguous, else a contiguous copy.
fn laid_out(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    match strides.contains(&1) && strides.iter().all(|&s| s > 0) {
        true => tensor,
        false => tensor.to_contiguous(),
    }
}

fn product<T: Number>(
    x: FlexTensor,
    weight: FlexTensor,
    storage: fn(&FlexTensor) -> &[T],
) -> FlexTensor {
    let x = contiguous(x);
    let (x, n) = (elements(&x), x.shape()[0]);
    let (shape, strides) = (weight.shape(), weight.layout().strides());
    let (k, m) = (shape[0], shape[1]);
    if n * m == 0 || k == 0 {
        return dense(vec![0.0; n * m], [n, m]);
    }
    let data = &storage(&weight)[weight.layout().start_offset()..];
    let rows = |height, width, stride: isize| Rows {
        data,
        height,
        width,
        stride: stride.unsigned_abs(),
    };
    if strides[1] == 1 {
        let weight = rows(k, m, strides[0]);
        let out = match n <= FEW {
            true => few::weighted_rows(x, weight),
            false => many::by_panels(x, n, weight, false),
        };
        return dense(out, [n, m]);
    }
    let weight = rows(m, k, strides[1]);
    if n > FEW_OF_TABLE {
        return dense(many::by_panels(x, n, weight, true), [n, m]);
    }
    // The products of a table row with all of x are contiguous.
    let layout = Layout::new(Shape::from([n, m]), vec![1, n as isize], 0);
    let out = Bytes::from_elems(few::dots(x, n, weight));
    FlexTensor::new(out, layout, DType::F32)
}
