//! Gradients of the fast forms equal those of the definitions.

use crate::common::{
    Random, Sizes, arms, assert_close, exact_arms, input, relative_error, test_device, tries_few,
};
use bsbr_attention::{ArmConfig, Attention, AttentionInput, reference};
use burn::tensor::{DType, Device, Gradients, Tensor};

/// An arm whose parameters are all learned, also the bases, which else are fixed.
fn arm(config: &ArmConfig, sizes: Sizes, device: &Device) -> Attention {
    let mut attention = crate::common::arm(config, sizes, device);
    attention.bases = attention.bases.map(|mut bases| {
        bases.key = bases.key.set_require_grad(true);
        bases.value = bases.value.set_require_grad(true);
        bases
    });
    attention
}

/// Gradients of a weighted sum of the output: by q, k, v, and the arm's own parameters if any.
fn gradients(
    attention: &Attention,
    input: &AttentionInput,
    run: impl Fn(&Attention, AttentionInput) -> Tensor<4>,
) -> (Vec<Tensor<4>>, Vec<Tensor<2>>) {
    let leaf = |x: &Tensor<4>| x.clone().detach().require_grad();
    let tracked = AttentionInput {
        query: leaf(&input.query),
        key: leaf(&input.key),
        value: leaf(&input.value),
        ..input.clone()
    };
    let output = run(attention, tracked.clone());
    let weights = Random::new(9).tensor(output.dims(), &output.device());
    let weights: Tensor<4> = weights.cast(output.dtype());
    let gradients: Gradients = (output * weights).sum().backward();
    let of = |x: &Tensor<4>| {
        x.grad(&gradients)
            .unwrap_or_else(|| x.clone().inner().zeros_like())
    };
    let inputs = [&tracked.query, &tracked.key, &tracked.value].map(of);
    let parameters = attention.routing.iter().flat_map(|routing| {
        [&routing.retrieval.weight, &routing.summary.weight].map(|w| {
            let w = w.val();
            w.grad(&gradients).unwrap_or_else(|| w.inner().zeros_like())
        })
    });
    let heads = attention.tuning.iter().flat_map(|tuning| {
        let all = [&tuning.temperature, &tuning.bias].into_iter();
        all.chain(tuning.gain.as_ref()).map(|x| {
            let x = x.val();
            let grad = x.grad(&gradients);
            grad.unwrap_or_else(|| x.inner().zeros_like()).unsqueeze()
        })
    });
    let bases = attention.bases.iter().flat_map(|bases| {
        [&bases.key, &bases.value].map(|basis| {
            let basis = basis.val();
            let grad = basis.grad(&gradients);
            let grad = grad.unwrap_or_else(|| basis.inner().zeros_like());
            grad.flatten(0, 1)
        })
    });
    let parameters = parameters.chain(heads).chain(bases);
    (inputs.to_vec(), parameters.collect())
}

#[test]
fn gradients_equal_those_of_the_reference() {
    let device = test_device().autodiff();
    for config in arms() {
        let size = config.chunk_size().unwrap_or(4);
        let cases = [
            (4 * size + 3, 2, 5),
            (size + 1, 3, 5),
            (1, 3, 5),
            ((size - 1).max(1), 1, 5),
            (3 * size + 2, 1, 48),
        ];
        let few = if tries_few() { 2 } else { cases.len() };
        for (tokens, batch, head_dim) in cases.into_iter().take(few) {
            let sizes = Sizes {
                batch,
                heads: 2,
                tokens,
                head_dim,
            };
            let attention = arm(&config, sizes, &device);
            let input = input(sizes, tokens as u64, &device);
            let (fast, fast_parameters) = gradients(&attention, &input, |a, x| a.forward(x));
            let (naive, naive_parameters) = gradients(&attention, &input, reference::forward);
            let what = format!("{config:?} at {tokens} tokens, D = {head_dim}");
            for (name, (fast, naive)) in ["q", "k", "v"].iter().zip(fast.iter().zip(&naive)) {
                assert_close(fast, naive, 1e-4, &format!("gradient by {name}, {what}"));
            }
            assert_eq!(fast_parameters.len(), naive_parameters.len());
            let what = format!("gradient by a parameter, {what}");
            for (fast, naive) in fast_parameters.iter().zip(&naive_parameters) {
                assert_close(fast, naive, 1e-4, &what);
            }
        }
    }
}

/// Whether block attention is one kernel in both directions.
fn is_fused(query: &Tensor<4>) -> bool {
    let settings = bsbr_kernels::BlockAttention::default();
    bsbr_kernels::fuses_block_attention(query, &settings)
}

/// The kernel takes f32 alone, so that double precision goes through smaller operations.
#[test]
fn gradients_of_one_kernel_equal_those_of_smaller_operations() {
    let device = test_device().autodiff();
    // Elsewhere a driver's f64 would be what is tested, or both are the same operations.
    if tries_few() {
        return;
    }
    for config in arms() {
        if !matches!(config, ArmConfig::Local(_) | ArmConfig::Moments(_)) {
            continue;
        }
        let sizes = Sizes {
            batch: 2,
            heads: 2,
            tokens: 31,
            head_dim: 12,
        };
        let attention = arm(&config, sizes, &device);
        let single = input(sizes, 4, &device);
        assert!(is_fused(&single.query));
        let double = |x: &Tensor<4>| x.clone().cast(DType::F64);
        let double = AttentionInput {
            query: double(&single.query),
            key: double(&single.key),
            value: double(&single.value),
            ..single.clone()
        };
        assert!(!is_fused(&double.query));
        let (inputs, parameters) = gradients(&attention, &single, |a, x| a.forward(x));
        let (wanted, wanted_parameters) = gradients(&attention, &double, |a, x| a.forward(x));
        for (name, (found, wanted)) in ["q", "k", "v"].iter().zip(inputs.iter().zip(wanted)) {
            let what = format!("gradient by {name}, {config:?}");
            assert_close(found, &wanted.cast(DType::F32), 1e-4, &what);
        }
        for (found, wanted) in parameters.iter().zip(wanted_parameters) {
            let what = format!("gradient by a parameter, {config:?}");
            assert_close(found, &wanted.cast(DType::F32), 1e-4, &what);
        }
    }
}

/// Against differences of the output itself, so that a gradient that both forms drop
/// is noticed.
#[test]
fn gradients_are_those_of_the_output() {
    let device = test_device().autodiff();
    for config in exact_arms() {
        let sizes = Sizes {
            batch: 1,
            heads: 1,
            tokens: 17,
            head_dim: 3,
        };
        let attention = arm(&config, sizes, &device);
        let input = input(sizes, 21, &device);
        let (analytic, _) = gradients(&attention, &input, |a, x| a.forward(x));
        let direction = Random::new(22).tensor::<4>(input.query.dims(), &device);
        let weights = Random::new(9)
            .tensor::<4>(input.query.dims(), &device)
            .inner();
        let at = |step: f64| -> f32 {
            let moved = AttentionInput {
                query: input.query.clone() + direction.clone() * step,
                key: input.key.clone() + direction.clone() * step,
                value: input.value.clone() + direction.clone() * step,
                ..input.clone()
            };
            (attention.forward(moved).inner() * weights.clone())
                .sum()
                .into_scalar()
        };
        let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
        let along: f32 = analytic
            .iter()
            .map(|g| {
                (g.clone() * direction.clone().inner())
                    .sum()
                    .into_scalar::<f32>()
            })
            .sum();
        let close = Tensor::<1>::from_floats([along], &test_device());
        let numeric = Tensor::<1>::from_floats([numeric], &test_device());
        let error = relative_error(&close, &numeric);
        // Differences of f32 sums are good to about one in a hundred.
        assert!(
            error < 2e-2,
            "{config:?}: {along} against {numeric}, {error}"
        );
    }
}
