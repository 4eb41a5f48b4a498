//! Half precision gives what single precision gives, to half precision.

use crate::common::{Sizes, arm, arms, assert_close, input, streamed, test_device};
use burn::tensor::{DType, Tensor};

const SIZES: Sizes = Sizes {
    batch: 1,
    heads: 2,
    tokens: 31,
    head_dim: 6,
};

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
            if matches!(&config, bsbr_attention::ArmConfig::Moments(c) if c.exact_clusters > 0) {
                continue;
            }
            let attention = arm(&config, SIZES, &device);
            let mut half = input(SIZES, 3, &device);
            let round = |x: Tensor<4>| x.cast(dtype);
            half.query = round(half.query);
            half.key = round(half.key);
            half.value = round(half.value);
            let mut single = half.clone();
            single.query = single.query.cast(DType::F32);
            single.key = single.key.cast(DType::F32);
            single.value = single.value.cast(DType::F32);
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
