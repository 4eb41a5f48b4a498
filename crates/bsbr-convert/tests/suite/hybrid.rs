//! Two forms of a model, and the choice between them.

use bsbr_convert::{ConversionPlan, Hybrid, convert};
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use burn::tensor::Device;

use crate::allocations::peak;
use crate::support::{assert_close, fixture, load, logits, tensors};

const TOKENS: [u32; 8] = [3, 1, 4, 1, 5, 9, 2, 6];

/// What is read with dense attention, at most.
const BOUNDARY: usize = 5;

fn original() -> Gpt2 {
    load(fixture("single")).model
}

/// An arm that sees so little that it differs from dense attention.
fn converted() -> Gpt2 {
    let arm = "local:chunk_size=1,near_chunks=0,sink_tokens=0";
    convert(original(), &ConversionPlan::parse(arm, None).unwrap()).unwrap()
}

fn hybrid() -> Hybrid {
    Hybrid::new(converted(), BOUNDARY).unwrap()
}

#[test]
fn short_sequences_are_read_by_the_original_and_long_ones_by_the_arm() {
    let hybrid = hybrid();
    assert_eq!(hybrid.longest_dense(), BOUNDARY);
    for length in 1..=TOKENS.len() {
        let expected = match length <= BOUNDARY {
            true => original(),
            false => converted(),
        };
        let form = hybrid.for_length(length);
        assert_eq!(form.config().arm(1), expected.config().arm(1), "{length}");
        let tokens = &TOKENS[..length];
        assert_eq!(logits(form, tokens), logits(&expected, tokens), "{length}");
    }
    assert_eq!(tensors(hybrid.for_length(1)), tensors(&original()));
}

#[test]
fn weights_are_shared() {
    // So large that weights are most of a model.
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 2000, "n_positions": 8, "n_embd": 64, "n_layer": 2, "n_head": 2}"#,
    )
    .unwrap();
    let model = Gpt2::init(&config, 1, &Device::default()).unwrap();
    let own: usize = tensors(&model).iter().map(|(_, bytes)| bytes.len()).sum();
    let plan = ConversionPlan::parse("local", None).unwrap();
    let model = convert(model, &plan).unwrap();
    let (hybrid, new) = peak(|| Hybrid::new(model, BOUNDARY).unwrap());
    assert!(new < own / 4, "{new} for {own}");
    assert_eq!(tensors(hybrid.for_length(1)), tensors(hybrid.for_length(8)));
}

#[test]
fn a_sequence_that_stays_with_its_form_streams_as_it_reads_at_once() {
    let hybrid = hybrid();
    for length in [BOUNDARY, TOKENS.len()] {
        let form = hybrid.for_length(length);
        for piece in 1..=length {
            let mut cache = form.new_cache();
            let mut streamed: Vec<f32> = Vec::new();
            for part in TOKENS[..length].chunks(piece) {
                let batch = TokenBatch::single(part).unwrap();
                let states = form.forward_cached(&batch, &mut cache).unwrap();
                let data = form.logits(states).into_data();
                streamed.extend(data.convert::<f32>().try_into_vec::<f32>().unwrap());
            }
            // Other sums in another order: 1e-5 of the largest value is what f32 leaves of that.
            assert_close(&streamed, &logits(form, &TOKENS[..length]), 1e-5);
        }
    }
}

#[test]
fn choosing_by_the_tokens_at_hand_would_read_a_text_otherwise_than_at_once() {
    let hybrid = hybrid();
    let read = |length: usize| logits(hybrid.for_length(length), &TOKENS[..length]);
    let (short, long) = (read(BOUNDARY), read(BOUNDARY + 1));
    let differs = |at: usize| {
        let row = at * 11..(at + 1) * 11;
        let pairs = short[row.clone()].iter().zip(&long[row]);
        pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs())) > 1e-3
    };
    // The first token sees itself alone in either form; what follows does not.
    assert!(!differs(0));
    assert!((1..BOUNDARY).any(differs));
    // On one side of the boundary the beginning of a text is read as the whole is.
    let (part, whole) = (read(BOUNDARY - 1), read(BOUNDARY));
    assert_eq!(part[..], whole[..part.len()]);
}
