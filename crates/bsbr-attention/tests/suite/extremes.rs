//! Every arm gives finite numbers wherever dense attention does.

use crate::common::{
    Sizes, arm, arms, assert_close, exact_arms, input, moments, relative_error, streamed,
    test_device, tries_few, with,
};
use bsbr_attention::{ArmConfig, AttentionInput};
use burn::tensor::{DType, Tensor};

const SIZES: Sizes = Sizes {
    batch: 1,
    heads: 2,
    tokens: 41,
    head_dim: 6,
};

/// Input whose queries, keys and values are so many times larger.
fn scaled([q, k, v]: [f64; 3]) -> AttentionInput {
    let mut input = input(SIZES, 11, &test_device());
    input.query = input.query * q;
    input.key = input.key * k;
    input.value = input.value * v;
    input
}

fn is_finite(x: &Tensor<4>) -> bool {
    x.to_data().iter::<f32>().all(f32::is_finite)
}

#[test]
fn every_arm_gives_numbers_where_dense_does() {
    let device = test_device();
    let scales = [
        [1e-20, 1e20, 1e20],
        [1e-30, 1e30, 1.0],
        [1.0, 1.0, 1e30],
        [1.0, 1e-30, 1e-30],
        [1e4, 1e4, 1.0],
        [0.0, 0.0, 0.0],
        // Numbers below the least that have all their digits.
        [1.0, 1e-40, 1e-40],
        [1e-40, 1e-40, 1e-40],
    ];
    for scale in scales.into_iter().take(if tries_few() { 2 } else { 8 }) {
        let input = scaled(scale);
        let dense = arm(&ArmConfig::DENSE, SIZES, &device).forward(input.clone());
        assert!(is_finite(&dense), "{scale:?}");
        for config in arms() {
            let attention = arm(&config, SIZES, &device);
            for (form, output) in [
                ("whole", attention.forward(input.clone())),
                ("in pieces", streamed(&attention, &input, &[7, 1])),
            ] {
                assert!(is_finite(&output), "{config:?} {form} at {scale:?}");
            }
        }
    }
}

/// Numbers near the largest of f16: squares and sums of them are beyond it.
#[test]
fn every_arm_gives_numbers_near_the_largest_of_half_precision() {
    let device = test_device();
    if tries_few() || !device.supports_dtype(DType::F16) {
        return;
    }
    // Products with a state are as large as both, and so is what comes out.
    let of_averages = |arm: &ArmConfig| match arm {
        ArmConfig::Published(_) => false,
        ArmConfig::Moments(config) => !config.state,
        _ => true,
    };
    for large in [[1.0, 1.0, 6e4], [0.01, 6e4, 1.0], [6e4, 0.01, 1.0]] {
        let mut input = scaled([1.0; 3]);
        for (x, most) in [&mut input.query, &mut input.key, &mut input.value]
            .into_iter()
            .zip(large)
        {
            let largest = x.clone().abs().max().into_scalar::<f32>();
            *x = (x.clone() * (most / largest)).cast(DType::F16);
        }
        let dense = arm(&ArmConfig::DENSE, SIZES, &device).forward(input.clone());
        if !is_finite(&dense) {
            continue;
        }
        for config in arms().into_iter().filter(of_averages) {
            let attention = arm(&config, SIZES, &device);
            for (form, output) in [
                ("whole", attention.forward(input.clone())),
                ("in pieces", streamed(&attention, &input, &[7, 1])),
            ] {
                assert!(is_finite(&output), "{config:?} {form} at {large:?}");
            }
        }
    }
}

/// Scores do not change where keys grow as queries shrink, and outputs grow as values do.
#[test]
fn outputs_do_not_depend_on_the_size_of_keys() {
    let device = test_device();
    // Powers of two, so that nothing is rounded in another way.
    let (up, down) = (2.0f64.powi(60), 2.0f64.powi(-60));
    for config in exact_arms() {
        if matches!(config, ArmConfig::Published(_)) {
            continue;
        }
        let stateless = matches!(&config, ArmConfig::Moments(c) if !c.state && !c.learned);
        if !stateless && matches!(config, ArmConfig::Moments(_)) {
            continue;
        }
        let attention = arm(&config, SIZES, &device);
        let plain = attention.forward(scaled([1.0; 3]));
        let moved = attention.forward(scaled([down, up, up])) * down;
        assert_close(&moved, &plain, 1e-5, &format!("{config:?}"));
    }
}

/// Scores of 10⁸ of which all are the same: one unit in the last place is 64 nats.
#[test]
fn all_clusters_looked_up_are_dense_where_all_scores_are_alike() {
    let device = test_device();
    let mut input = input(SIZES, 12, &device);
    input.query = input.query.ones_like() * 1e4;
    input.key = input.query.clone();
    let dense = arm(&ArmConfig::DENSE, SIZES, &device).forward(input.clone());
    let config = with(&moments(4, 1, 2), "exact_clusters=1000,state=false");
    let attention = arm(&config, SIZES, &device);
    let error = relative_error(&attention.forward(input), &dense);
    assert!(error < 1e-5, "{error}");
}
