//! Results in half precision equal those in single precision up to rounding.

use crate::common::{
    Sizes, arm, arms, assert_close, changed, input, moments, streamed, test_device, with,
};
use bsbr_attention::{ArmConfig, AttentionInput};
use burn::tensor::DType;

const SIZES: Sizes = Sizes {
    batch: 1,
    heads: 2,
    tokens: 31,
    head_dim: 6,
};

/// The input rounded, and what it is then in single precision.
fn rounded(dtype: DType) -> [AttentionInput; 2] {
    let half = changed(&input(SIZES, 3, &test_device()), None, dtype);
    let single = changed(&half, None, DType::F32);
    [half, single]
}

#[test]
fn half_precision_is_close_to_single() {
    let device = test_device();
    for dtype in [DType::BF16, DType::F16] {
        if !device.supports_dtype(dtype) {
            continue;
        }
        for config in arms() {
            // The published arm's parameters are single, and its values large.
            if config.name() == "published" || config.compression() > 1 {
                continue;
            }
            // Which clusters are best depends on the last bits.
            if matches!(&config, ArmConfig::Moments(c) if c.exact_clusters > 0) {
                continue;
            }
            let attention = arm(&config, SIZES, &device);
            let [half, single] = rounded(dtype);
            let expected = attention.forward(single);
            for output in [
                attention.forward(half.clone()),
                streamed(&attention, &half, &[20, 1]),
            ] {
                assert_eq!(output.dtype(), dtype, "{config:?}");
                let output = output.cast(DType::F32);
                assert_close(
                    &output,
                    &expected,
                    5e-2,
                    &format!("{config:?} in {dtype:?}"),
                );
            }
        }
    }
}

/// A query that looks into more clusters than it sees looks into all that it sees, once each, also
/// where hidden logits are −∞.
#[test]
fn more_exact_clusters_than_a_query_sees_are_dense_attention() {
    let device = test_device();
    // Of twelve clusters, only the last chunk sees more than ten.
    let config = with(&moments(4, 1, 2), "exact_clusters=11,state=false");
    let settled = SIZES.tokens - 1;
    for dtype in [DType::BF16, DType::F16] {
        if !device.supports_dtype(dtype) {
            continue;
        }
        let attention = arm(&config, SIZES, &device);
        let [half, single] = rounded(dtype);
        let expected = arm(&ArmConfig::DENSE, SIZES, &device).forward(single);
        for output in [
            attention.forward(half.clone()),
            streamed(&attention, &half, &[20, 1]),
        ] {
            let output = output.cast(DType::F32);
            let what = format!("{dtype:?}");
            let finite = output.to_data().iter::<f32>().all(f32::is_finite);
            assert!(finite, "{what}: an output is not finite");
            // Rounded logits of some eight units, and the log of a mass as well.
            assert_close(
                &output.narrow(2, 0, settled),
                &expected.clone().narrow(2, 0, settled),
                1e-1,
                &what,
            );
        }
    }
}
