//! Views of the tensors of the Flex backend, and tensors made from buffers.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Element, Shape};
use bytemuck::Pod;

use super::matrix::Mat;

/// Whether the kernels support this tensor: `f32` elements.
pub(crate) fn is_f32(tensor: &FlexTensor) -> bool {
    tensor.dtype() == DType::F32
}

/// The tensor itself if no stride is negative, else a contiguous copy.
pub(crate) fn forward_strides(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().strides().iter().all(|&s| s >= 0) {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The tensor itself if it is contiguous, else a contiguous copy.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The elements of a contiguous `f32` tensor.
pub(crate) fn elements(tensor: &FlexTensor) -> &[f32] {
    elements_of(tensor)
}

/// The elements of a contiguous tensor of the given type.
pub(crate) fn elements_of<E: Element + Pod>(tensor: &FlexTensor) -> &[E] {
    let start = tensor.layout().start_offset();
    &tensor.storage::<E>()[start..start + tensor.layout().num_elements()]
}

/// A contiguous `f32` tensor with writable elements: in place if the tensor is not
/// shared, else in a copy.
pub(crate) fn update(tensor: FlexTensor, write: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut tensor = contiguous(tensor);
    let start = tensor.layout().start_offset();
    let len = tensor.layout().num_elements();
    write(&mut tensor.storage_mut::<f32>()[start..start + len]);
    tensor
}

/// Class indices from an integer tensor of any type and layout.
///
/// # Panics
///
/// Panics if an index is not below `classes`.
pub(crate) fn indices(tensor: FlexTensor, classes: usize) -> Vec<usize> {
    let index = |i: i64| match usize::try_from(i) {
        Ok(index) if index < classes => index,
        _ => classes,
    };
    let indices: Vec<usize> = tensor.into_data().iter::<i64>().map(index).collect();
    assert!(
        indices.iter().all(|&i| i < classes),
        "a target is not below {classes}"
    );
    indices
}

/// A contiguous tensor of the given shape over `data`.
pub(crate) fn dense(data: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(data),
        Layout::contiguous(shape.into()),
        DType::F32,
    )
}

/// A tensor of shape `[B, H, N, D]` over a buffer laid out as `[B, N, H, D]`.
pub(crate) fn heads_from_tokens(data: Vec<f32>, [b, h, n, d]: [usize; 4]) -> FlexTensor {
    let strides = [n * h * d, d, h * d, 1].map(|s| s as isize).to_vec();
    let layout = Layout::new(Shape::from([b, h, n, d]), strides, 0);
    FlexTensor::new(Bytes::from_elems(data), layout, DType::F32)
}

/// The rows of each head of each sequence, which are not contiguous, in a buffer laid
/// out as `[B, N, H, D]`.
pub(crate) fn rows_of_heads(data: &mut [f32], [b, h, n, d]: [usize; 4]) -> Vec<Vec<&mut [f32]>> {
    let mut heads: Vec<Vec<_>> = (0..b * h).map(|_| Vec::with_capacity(n)).collect();
    for (i, row) in data.chunks_exact_mut(d.max(1)).enumerate() {
        heads[i / (n * h) * h + i % h].push(row);
    }
    heads
}

/// Sizes and strides of the axes of a tensor of rank R.
fn dims<const R: usize>(tensor: &FlexTensor) -> [(usize, usize); R] {
    let (shape, strides) = (tensor.layout().shape(), tensor.layout().strides());
    core::array::from_fn(|i| (shape[i], strides[i].unsigned_abs()))
}

/// Strided view of a tensor `[B, H, N, D]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads<'a> {
    data: &'a [f32],
    /// B, H, N, D.
    pub(crate) shape: [usize; 4],
    strides: [usize; 4],
}

impl<'a> Heads<'a> {
    /// Views a tensor `[B, H, N, D]` without negative strides.
    pub(crate) fn new(tensor: &'a FlexTensor) -> Self {
        let [b, h, n, d] = dims(tensor);
        Self::with(
            tensor,
            [b, h, n, d].map(|(size, _)| size),
            [b, h, n, d].map(|(_, s)| s),
            0,
        )
    }

    /// Views a tensor `[B, H, N]` without negative strides as `[B, H, N, 1]`.
    pub(crate) fn columns(tensor: &'a FlexTensor) -> Self {
        let [b, h, n] = dims(tensor);
        Self::with(tensor, [b.0, h.0, n.0, 1], [b.1, h.1, n.1, 1], 0)
    }

    /// Views tensor number `part` of those packed, with their heads, in the last axis
    /// of a tensor `[B, N, parts · H · D]` without negative strides.
    pub(crate) fn packed(tensor: &'a FlexTensor, part: usize, [h, d]: [usize; 2]) -> Self {
        let [b, n, c] = dims(tensor);
        Self::with(
            tensor,
            [b.0, h, n.0, d],
            [b.1, d * c.1, n.1, c.1],
            part * h * d * c.1,
        )
    }

    fn with(tensor: &'a FlexTensor, shape: [usize; 4], strides: [usize; 4], offset: usize) -> Self {
        let data = tensor.storage::<f32>();
        let start = (tensor.layout().start_offset() + offset).min(data.len());
        Self {
            data: &data[start..],
            shape,
            strides,
        }
    }

    /// The matrix `[N, D]` of one head.
    pub(crate) fn head(&self, batch: usize, head: usize) -> Mat<'a> {
        let [_, _, n, d] = self.shape;
        let [sb, sh, sn, sd] = self.strides;
        Mat::new(&self.data[batch * sb + head * sh..], n, d, sn, sd)
    }
}
