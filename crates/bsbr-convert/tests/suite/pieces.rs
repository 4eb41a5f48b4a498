//! Long texts are read in pieces: working memory does not grow with the text, and the results are
//! those of one pass.

use bsbr_convert::{ConversionPlan, convert};
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use burn::tensor::Device;

use crate::allocations::peak;

const PIECE: usize = 32;

fn model(arm: &str) -> Gpt2 {
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 50, "n_positions": 2048, "n_embd": 32, "n_layer": 2, "n_head": 4}"#,
    )
    .unwrap();
    let model = Gpt2::init(&config, 5, &Device::default()).unwrap();
    convert(model, &ConversionPlan::parse(arm, None).unwrap()).unwrap()
}

fn batch(tokens: usize) -> TokenBatch {
    let ids: Vec<u32> = (0..tokens as u32).map(|i| i * 13 % 50).collect();
    TokenBatch::single(&ids).unwrap()
}

/// Bytes that reading holds at most, and those of them that are kept of the text.
fn reading(model: &Gpt2, tokens: usize, piece: usize) -> [usize; 2] {
    let batch = batch(tokens);
    let mut cache = model.new_cache();
    let (hidden, held) = peak(|| model.prefill(&batch, &mut cache, piece));
    assert_eq!(hidden.unwrap().dims()[2], 32);
    [held, cache.bytes()]
}

/// What is counted is what one thread holds, so one thread does all.
fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
    pool.build().unwrap().install(work)
}

#[test]
fn what_reading_holds_beside_the_cache_does_not_grow() {
    for arm in [
        "dense",
        "dense:kv_bits=8",
        "moments:chunk_size=16,clusters=2,exact_clusters=3",
        "local:chunk_size=16",
    ] {
        let model = model(arm);
        let beside = |tokens: usize, piece: usize| {
            alone(|| {
                let [held, kept] = reading(&model, tokens, piece);
                // A list that grows lies in two places for a moment.
                held.saturating_sub(kept + kept / 4)
            })
        };
        // A first pass leaves what every pass needs.
        beside(PIECE, PIECE);
        let (short, long) = (beside(256, PIECE), beside(2048, PIECE));
        assert!(long < short + 65_536, "{arm}: {short} and {long} bytes");
        let whole = beside(2048, 2048);
        assert!(whole > 2 * long, "{arm}: {whole} and {long} bytes");
    }
}

#[test]
fn hidden_states_of_pieces_are_those_of_one_pass() {
    for arm in ["dense", "moments:chunk_size=16,clusters=2,exact_clusters=3"] {
        let model = model(arm);
        let whole = model.all_hidden_states(&batch(200)).unwrap();
        let mut cache = model.new_cache();
        let mut start = 0;
        for piece in batch(200).pieces(PIECE) {
            let states = model.all_hidden_states_cached(&piece, &mut cache).unwrap();
            assert_eq!(states.len(), whole.len());
            for (state, whole) in states.into_iter().zip(&whole) {
                let expected = whole.clone().narrow(1, start, piece.seq_len());
                let far = (state - expected).abs().max().into_scalar::<f32>();
                assert!(far < 1e-4, "{arm}: {far} from token {start} on");
            }
            start += piece.seq_len();
        }
        assert_eq!(start, 200);
    }
}
