//! No output depends on a later token, and the far field does depend on earlier ones.

use crate::common::{
    Random, Sizes, arm, arms, bits, input, relative_error, streamed, test_device, tries_few,
};
use bsbr_attention::{ArmConfig, AttentionInput};
use burn::tensor::{Device, Tensor};

const SIZES: Sizes = Sizes {
    batch: 1,
    heads: 2,
    tokens: 31,
    head_dim: 5,
};

/// The same input with everything of token `t` replaced.
fn with_other_token(input: &AttentionInput, t: usize, device: &Device) -> AttentionInput {
    let mut random = Random::new(t as u64 + 1000);
    let mut other = |x: &Tensor<4>| {
        let [b, h, _, d] = x.dims();
        let token = random.tensor([b, h, 1, d], device) * 3.0;
        x.clone().slice_assign([0..b, 0..h, t..t + 1, 0..d], token)
    };
    let (query, key, value) = (other(&input.query), other(&input.key), other(&input.value));
    let hidden = input.hidden_states.clone().unsqueeze_dim(1);
    AttentionInput {
        query,
        key,
        value,
        hidden_states: other(&hidden).squeeze_dim(1),
        ..input.clone()
    }
}

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
                let after = run(with_other_token(&original, t, &device));
                let rest = SIZES.tokens - t;
                let changed = relative_error(
                    &after.clone().narrow(2, t, rest),
                    &before.clone().narrow(2, t, rest),
                );
                assert!(changed > 0.0, "{config:?}, {form}: token {t} has no effect");
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
        let after = last(with_other_token(&original, 3, &device));
        let change = relative_error(&after, &before);
        if matches!(config, ArmConfig::Local(_)) {
            assert_eq!(change, 0.0, "{config:?}");
        } else {
            assert!(change > 1e-4, "{config:?}: {change}");
        }
    }
}
