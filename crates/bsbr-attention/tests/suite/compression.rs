//! States compressed with bases from calibration.

#![allow(clippy::expect_used)]

use crate::common::{
    Random, Sizes, alone, arm, assert_close, input, moments, published, relative_error,
    test_device, with,
};
use bsbr_attention::{
    ArmConfig, Attention, AttentionInput, Calibration, CalibrationError, ConfigError, Padding,
};
use burn::tensor::Tensor;

const SIZES: Sizes = Sizes {
    batch: 2,
    heads: 2,
    tokens: 43,
    head_dim: 8,
};

fn compressed() -> [ArmConfig; 2] {
    [with(&moments(4, 1, 2), "compression=4"), published(4, 4)]
}

fn whole(config: &ArmConfig) -> ArmConfig {
    match config.clone() {
        ArmConfig::Moments(c) => with(&c, "compression=1"),
        _ => published(4, 1),
    }
}

/// Input whose queries and values lie in half as many dimensions, slightly noisy.
fn flat_input(noise: f64, seed: u64) -> AttentionInput {
    let device = test_device();
    let mut input = input(SIZES, seed, &device);
    let mut random = Random::new(99);
    let mut flatten = |x: Tensor<4>| {
        let down = random.tensor::<4>([1, 2, 8, 4], &device);
        let up = random.tensor::<4>([1, 2, 4, 8], &device);
        x.clone().matmul(down).matmul(up) * 0.2 + x * noise
    };
    input.query = flatten(input.query);
    input.value = flatten(input.value);
    input
}

fn calibrated(config: &ArmConfig, inputs: &[AttentionInput]) -> Attention {
    let mut calibration = Calibration::new(config, SIZES.shape()).expect("it is compressed");
    for input in inputs {
        calibration.observe(input);
    }
    let bases = calibration.bases(&test_device()).expect("there is data");
    arm(config, SIZES, &test_device()).with_bases(bases)
}

#[test]
fn nothing_is_lost_where_queries_and_values_fill_half_the_dimensions() {
    for config in compressed() {
        let input = flat_input(0.0, 1);
        let attention = calibrated(&config, std::slice::from_ref(&input));
        let exact = arm(&whole(&config), SIZES, &test_device()).forward(input.clone());
        assert_close(
            &attention.forward(input),
            &exact,
            1e-4,
            &format!("{config:?}"),
        );
    }
}

#[test]
fn calibrated_bases_beat_random_ones_on_new_data() {
    for config in compressed() {
        let attention = calibrated(&config, &[flat_input(0.1, 1), flat_input(0.1, 2)]);
        let new = flat_input(0.1, 3);
        let exact = arm(&whole(&config), SIZES, &test_device()).forward(new.clone());
        let of = |attention: &Attention| relative_error(&attention.forward(new.clone()), &exact);
        let (ours, random) = (of(&attention), of(&arm(&config, SIZES, &test_device())));
        assert!(ours < 0.5 * random, "{config:?}: {ours} against {random}");
    }
}

#[test]
fn bases_are_orthonormal() {
    let attention = calibrated(&compressed()[0], &[flat_input(0.3, 4)]);
    let bases = attention.bases.as_ref().expect("it is compressed");
    for basis in [bases.key.val(), bases.value.val()] {
        assert_eq!(basis.dims(), [2, 8, 4]);
        let products = basis.clone().swap_dims(1, 2).matmul(basis);
        let identity = Tensor::<2>::eye(4, &test_device())
            .unsqueeze::<3>()
            .expand([2, 4, 4]);
        assert_close(&products, &identity, 1e-5, "columns");
    }
}

#[test]
fn padding_does_not_count() {
    let config = &compressed()[0];
    let mut padded = flat_input(0.3, 5);
    padded.padding = Padding::left(vec![9, 0]);
    let shape = SIZES.shape();
    let mut one = Calibration::new(config, shape).expect("it is compressed");
    one.observe(&padded);
    let mut two = Calibration::new(config, shape).expect("it is compressed");
    for (row, before) in [(0, 9), (1, 0)] {
        two.observe(&alone(&padded, row, before));
    }
    assert_eq!((one.tokens(), two.tokens()), (77, 77));
    let [one, two] = [one, two].map(|c| c.bases(&test_device()).expect("there is data"));
    assert_close(&one.key.val(), &two.key.val(), 1e-5, "U_k");
    assert_close(&one.value.val(), &two.value.val(), 1e-5, "U_v");
}

#[test]
fn uncalibrated_arms_are_never_quietly_wrong() {
    for config in compressed() {
        let attention = Attention::new(config, SIZES.shape(), &test_device()).expect("valid");
        let output = attention.forward(input(SIZES, 6, &test_device()));
        assert!(output.sum().into_scalar::<f32>().is_nan());
    }
}

#[test]
fn sequences_shorter_than_a_chunk_calibrate_no_clusters() {
    let [clusters, whole_values] = compressed();
    let observed = |config: &ArmConfig, tokens: usize| {
        let mut calibration = Calibration::new(config, SIZES.shape()).expect("it is compressed");
        calibration.observe(&crate::common::piece(&flat_input(0.3, 8), 0, tokens));
        assert_eq!(calibration.tokens(), SIZES.batch * tokens);
        calibration.bases(&test_device()).err()
    };
    // Two sinks and a chunk of four.
    let expected = CalibrationError::NoWholeChunk {
        chunk_size: 4,
        needed: 6,
    };
    assert_eq!(observed(&clusters, 5), Some(expected));
    assert_eq!(observed(&clusters, 6), None);
    // The published arm's values need no chunk.
    assert_eq!(observed(&whole_values, 3), None);
}

#[test]
fn what_cannot_be_calibrated_or_compressed_says_so() {
    assert!(Calibration::new(&ArmConfig::DENSE, SIZES.shape()).is_none());
    let mut calibration = Calibration::new(&compressed()[0], SIZES.shape()).expect("compressed");
    let nothing = calibration.bases(&test_device()).err();
    assert_eq!(nothing, Some(CalibrationError::NoTokens));
    let mut broken = flat_input(0.3, 7);
    broken.query = broken.query / 0.0;
    calibration.observe(&broken);
    let error = calibration.bases(&test_device()).err();
    let queries = CalibrationError::NotFinite {
        what: "queries",
        head: 0,
    };
    assert_eq!(error, Some(queries));
    let stateless = with(&moments(4, 1, 2), "state=false,compression=4");
    let error = Attention::new(stateless, SIZES.shape(), &test_device()).err();
    assert_eq!(
        error,
        Some(ConfigError::CompressionWithoutState { compression: 4 })
    );
}
