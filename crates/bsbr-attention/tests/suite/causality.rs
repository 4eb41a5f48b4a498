//! No output depends on a later token, and the far field does depend on earlier ones.

use crate::common::{
    Sizes, arm, arms, bits, changed, input, relative_error, streamed, test_device, tries_few,
};
use bsbr_attention::{ArmConfig, AttentionInput};
use burn::tensor::{DType, Tensor};

const SIZES: Sizes = Sizes {
    batch: 1,
    heads: 2,
    tokens: 31,
    head_dim: 5,
};

#[test]
fn no_output_depends_on_a_later_token_bit_for_bit() {
    let device = test_device();
    // The last of them is the last token.
    let step = if tries_few() { 10 } else { 1 };
    for config in arms() {
        let attention = arm(&config, SIZES, &device);
        let original = input(SIZES, 1, &device);
        let forms: [(&str, &dyn Fn(AttentionInput) -> Tensor<4>); 3] = [
            ("parallel", &|x| attention.forward(x)),
            ("token by token", &|x| streamed(&attention, &x, &[1])),
            ("in pieces", &|x| streamed(&attention, &x, &[7, 20])),
        ];
        for (form, run) in forms {
            let before = run(original.clone());
            for t in (0..SIZES.tokens).step_by(step) {
                let after = run(changed(&original, Some(t), DType::F32));
                let rest = SIZES.tokens - t;
                let change = relative_error(
                    &after.clone().narrow(2, t, rest),
                    &before.clone().narrow(2, t, rest),
                );
                assert!(change > 0.0, "{config:?}, {form}: token {t} has no effect");
                if t > 0 {
                    assert_eq!(
                        bits(&after.narrow(2, 0, t)),
                        bits(&before.clone().narrow(2, 0, t)),
                        "{config:?}, {form}: an output before token {t} depends on it"
                    );
                }
            }
        }
    }
}

/// The last output changes with the first token that is far and no sink, except in
/// the local arm.
#[test]
fn the_far_field_is_alive() {
    let device = test_device();
    for config in arms() {
        let attention = arm(&config, SIZES, &device);
        let original = input(SIZES, 2, &device);
        let last = |x: AttentionInput| attention.forward(x).narrow(2, SIZES.tokens - 1, 1);
        let before = last(original.clone());
        let after = last(changed(&original, Some(3), DType::F32));
        let change = relative_error(&after, &before);
        if matches!(config, ArmConfig::Local(_)) {
            assert_eq!(change, 0.0, "{config:?}");
        } else {
            assert!(change > 1e-4, "{config:?}: {change}");
        }
    }
}
