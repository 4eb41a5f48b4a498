//! Input that a model refuses.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{arm, config, distance, floats, golden, load, load_with};
use bsbr_gpt2::{GenerationConfig, InputError, TokenBatch};

#[test]
fn empty_input_is_refused() {
    let none: [Vec<u32>; 0] = [];
    for batch in [
        TokenBatch::single(&[]),
        TokenBatch::rows(&none),
        TokenBatch::padded(&none),
        TokenBatch::padded(&[vec![1], vec![]]),
        TokenBatch::rows(&[Vec::<u32>::new(), vec![]]),
    ] {
        assert_eq!(batch, Err(InputError::Empty));
    }
}

#[test]
fn ragged_rows_are_refused() {
    let error = TokenBatch::rows(&[vec![1, 2], vec![3]]).expect_err("ragged");
    assert_eq!(
        error,
        InputError::Ragged {
            row: 1,
            found: 1,
            expected: 2
        }
    );
    assert!(
        error.to_string().contains("pad them on the left"),
        "{error}"
    );
}

#[test]
fn ids_out_of_range_are_refused() {
    let model = load("base");
    for id in [97, 98, i32::MAX as u32, u32::MAX] {
        let batch = TokenBatch::padded(&[vec![1, 2, 3], vec![4, id]]).expect("rows");
        let error = model.hidden_states(&batch).expect_err("id");
        let expected = InputError::TokenOutOfRange {
            row: 1,
            position: 2,
            id,
            vocab_size: 97,
        };
        assert_eq!(error, expected);
        assert_eq!(model.all_hidden_states(&batch).expect_err("id"), expected);
    }
}

mod half {
    use super::*;
    use bsbr_gpt2::parameters::cast_tensors;
    use burn::tensor::{DType, Device};

    /// Devices and the 16-bit types that they have, with the type that a model of such weights
    /// computes in: f32 where they are multiplied as they are, which is not done in training.
    fn halves() -> Vec<(Device, DType, DType)> {
        let devices = [Device::default(), Device::default().autodiff()];
        let pairs = devices
            .into_iter()
            .flat_map(|device| [DType::F16, DType::BF16].map(|dtype| (device.clone(), dtype)));
        pairs
            .filter(|(device, dtype)| device.supports_dtype(*dtype))
            .map(
                |(device, dtype)| match bsbr_kernels::fuses_mixed_matmul(&device) {
                    true => (device, dtype, DType::F32),
                    false => (device, dtype, dtype),
                },
            )
            .collect()
    }

    /// Half-precision models run, and with `reorder_and_upcast_attn` their attention is f32.
    #[test]
    fn half_precision_models_attend_in_f32_where_asked() {
        let golden = golden("flags/inverse_layer");
        let expected = golden.floats("logits");
        for (device, dtype, computed) in halves() {
            let tolerance = if dtype == DType::F16 { 0.02 } else { 0.2 };
            for folder in ["flags/inverse_layer", "flags/upcast"] {
                let model = cast_tensors(load_with(&config(folder), folder, &device), dtype);
                let batch = golden.batch();
                let upcast = config(folder).reorder_and_upcast_attn;
                for block in &model.h {
                    let x = model.embed(&batch, 0);
                    let input = block.attn.project(block.ln_1.forward(x), batch.padding());
                    let attended = if upcast { DType::F32 } else { computed };
                    for tensor in [&input.query, &input.key, &input.value] {
                        assert_eq!(tensor.dtype(), attended, "{folder}");
                    }
                }
                let hidden = model.hidden_states(&batch).expect("hidden states");
                assert_eq!(hidden.dtype(), computed, "{folder}");
                let off = distance(&floats(model.logits(hidden)), &expected);
                assert!(off < tolerance, "{folder} in {dtype:?} is off by {off}");
            }
        }
    }

    /// Every arm runs in half precision, its attention in f32 or not.
    #[test]
    fn every_arm_runs_in_half_precision() {
        let batch = golden("base").batch();
        for text in [
            "dense",
            "local:chunk_size=4",
            "published:chunk_size=4",
            "moments:chunk_size=4,clusters=2",
        ] {
            for (device, dtype, computed) in halves() {
                for reorder_and_upcast_attn in [false, true] {
                    let mut config = config("base").with_arm(arm(text));
                    config.reorder_and_upcast_attn = reorder_and_upcast_attn;
                    let model = cast_tensors(load_with(&config, "base", &device), dtype);
                    let hidden = model.hidden_states(&batch).expect("hidden states");
                    assert_eq!(hidden.dtype(), computed);
                    assert!(floats(hidden).iter().all(|x| x.is_finite()), "{text}");
                    let settings = GenerationConfig {
                        max_new_tokens: 9,
                        ..Default::default()
                    };
                    let new = model.generate(&batch, &settings).expect("new tokens");
                    assert_eq!(new[0].len(), 9);
                }
            }
        }
    }
}

#[test]
fn pieces_put_together_are_the_batch() {
    let batch = TokenBatch::padded(&[vec![1, 2, 3, 4, 5, 6, 7], vec![8, 9], vec![10, 11, 12, 13]])
        .expect("rows");
    for size in [0, 1, 2, 3, 100] {
        let pieces: Vec<TokenBatch> = batch.pieces(size).collect();
        assert_eq!(pieces[0].padding(), batch.padding());
        assert_eq!(pieces[0].seq_len(), (5 + size.max(1)).min(7));
        assert!(pieces[1..].iter().all(|piece| piece.padding().is_none()));
        for row in 0..3 {
            let ids: Vec<u32> = pieces.iter().flat_map(|p| p.row(row)).copied().collect();
            assert_eq!(ids, batch.row(row), "pieces of {size}");
        }
    }
}
