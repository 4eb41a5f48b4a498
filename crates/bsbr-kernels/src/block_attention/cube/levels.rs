//! Groups of neighbouring heads with equal levels, because kernels have one level for all heads.

use std::ops::Range;

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::Slice;

use super::super::{BlockAttention, BlockStatesPrimitive};
use super::backward::Gradients;

type T = FloatTensor<Cube>;

/// Output and log-sum-exp of all heads, from the results of `pass` for heads of one level.
pub(super) fn forward(
    inputs: [T; 3],
    states: BlockStatesPrimitive<Cube>,
    settings: &BlockAttention,
    pass: impl Fn([T; 3], BlockStatesPrimitive<Cube>, &BlockAttention) -> Option<(T, T)>,
) -> Option<(T, T)> {
    let runs = settings.levels.runs(inputs[0].shape()[1]);
    if runs.len() == 1 {
        return pass(inputs, states, &settings.of_head(0));
    }
    let (mut outs, mut sums) = (Vec::new(), Vec::new());
    for (first, len) in runs {
        let heads = first..first + len;
        let inputs = inputs.each_ref().map(|x| narrow(x, 1, &heads));
        let states = states.clone().map(|basis| narrow(&basis, 0, &heads));
        let (out, sum) = pass(inputs, states, &settings.of_head(first))?;
        outs.push(Cube::float_swap_dims(out, 1, 2));
        sums.push(sum);
    }
    // In the layout of the result for one level.
    let out = Cube::float_swap_dims(Cube::float_cat(outs, 2), 1, 2);
    Some((out, Cube::float_cat(sums, 1)))
}

/// Gradients of all heads, from the results of `pass` for heads of one level: of q, k, v, and
/// from the output, the log-sum-exp and the gradient of a forward pass.
pub(super) fn backward(
    inputs: [T; 3],
    states: BlockStatesPrimitive<Cube>,
    passed: [T; 3],
    settings: &BlockAttention,
    pass: impl Fn([T; 3], BlockStatesPrimitive<Cube>, [T; 3], &BlockAttention) -> Option<Gradients>,
) -> Option<Gradients> {
    let runs = settings.levels.runs(inputs[0].shape()[1]);
    if runs.len() == 1 {
        return pass(inputs, states, passed, &settings.of_head(0));
    }
    let mut of_inputs = [const { Vec::new() }; 3];
    let mut of_bases = [const { Vec::new() }; 2];
    for (first, len) in runs {
        let heads = first..first + len;
        let part = |x: &T| narrow(x, 1, &heads);
        let (inputs, passed) = (inputs.each_ref().map(part), passed.each_ref().map(part));
        let states = states.clone().map(|basis| narrow(&basis, 0, &heads));
        let (dq, dk, dv, bases) = pass(inputs, states, passed, &settings.of_head(first))?;
        for (all, own) in of_inputs.iter_mut().zip([dq, dk, dv]) {
            all.push(own);
        }
        if let BlockStatesPrimitive::Compressed { key, value } = bases {
            for (all, own) in of_bases.iter_mut().zip([key, value]) {
                all.push(own);
            }
        }
    }
    let [dq, dk, dv] = of_inputs.map(|parts| Cube::float_cat(parts, 1));
    let mut of_bases = of_bases.into_iter();
    let of_bases = states.map(|basis| match of_bases.next() {
        Some(parts) => Cube::float_cat(parts, 0),
        None => basis,
    });
    Some((dq, dk, dv, of_bases))
}

/// A range of heads; `dim` is their dimension.
fn narrow(x: &T, dim: usize, heads: &Range<usize>) -> T {
    let shape = x.shape();
    let mut slices: Vec<_> = shape.iter().map(|&size| Slice::from(0..size)).collect();
    slices[dim] = Slice::from(heads.clone());
    Cube::float_slice(x.clone(), &slices)
}
