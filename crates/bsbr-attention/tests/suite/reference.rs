//! The fast forms give the results of the definitions.

use crate::common::{Sizes, arm, arms, assert_close, input, test_device, tries_few};
use bsbr_attention::reference;
use burn::tensor::Device;

/// Without autodiff, where an arm may be one kernel, and with it, where it is
/// composed of operations that differentiate.
#[test]
fn fast_forms_equal_naive_at_awkward_lengths() {
    for device in [test_device(), test_device().autodiff()] {
        equal_naive(&device);
    }
}

fn equal_naive(device: &Device) {
    for config in arms() {
        let size = config.chunk_size().unwrap_or(4);
        let mut lengths = vec![
            1,
            2,
            3,
            size - 1,
            size,
            size + 1,
            3 * size + 2,
            3 * size + 5,
            6 * size + 2,
        ];
        if tries_few() {
            lengths = vec![1, size + 1, 3 * size + 5];
        }
        lengths.retain(|n| *n > 0);
        lengths.sort_unstable();
        lengths.dedup();
        for tokens in lengths {
            let sizes = Sizes {
                batch: 2,
                heads: 2,
                tokens,
                head_dim: 5,
            };
            let attention = arm(&config, sizes, device);
            let input = input(sizes, tokens as u64, device);
            let naive = reference::forward(&attention, input.clone()).inner();
            let fast = attention.forward(input).inner();
            assert_close(
                &fast,
                &naive,
                2e-5,
                &format!("{config:?} at {tokens} tokens"),
            );
        }
    }
}
