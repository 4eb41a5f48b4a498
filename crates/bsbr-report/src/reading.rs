//! Reading a text before generation.

use bsbr_gpt2::{Gpt2, Gpt2Cache, TokenBatch};
use burn::tensor::Tensor;

/// Default number of tokens read at once: memory holds the activations of these, however long
/// the text is.
pub(crate) const PIECE: usize = 512;

/// A model's cache of `ids`, read in pieces of `piece`, and the logits of the next token.
///
/// # Shapes
///
/// - ids: N tokens, at least one
/// - logits: `[1, V]`
pub(crate) fn read(
    model: &Gpt2,
    ids: &[u32],
    piece: usize,
) -> Result<(Gpt2Cache, Tensor<2>), String> {
    let mut cache = model.new_cache();
    let mut last = None;
    for ids in ids.chunks(piece.max(1)) {
        last = Some(feed(model, ids, &mut cache)?);
    }
    let last = last.ok_or("there is nothing to read")?;
    Ok((cache, model.last_logits(last)))
}

/// The logits of the last token of `ids`, from one pass without a cache.
pub(crate) fn last_logits(model: &Gpt2, ids: &[u32]) -> Result<Tensor<2>, String> {
    let batch = TokenBatch::single(ids).map_err(|error| error.to_string())?;
    let hidden = model.hidden_states(&batch);
    Ok(model.last_logits(hidden.map_err(|error| error.to_string())?))
}

/// The logits after `id`, which follows the tokens in the cache.
pub(crate) fn read_on(model: &Gpt2, id: u32, cache: &mut Gpt2Cache) -> Result<Tensor<2>, String> {
    let hidden = feed(model, &[id], cache)?;
    Ok(model.last_logits(hidden))
}

/// Hidden states of tokens that follow those in the cache.
pub(crate) fn feed(model: &Gpt2, ids: &[u32], cache: &mut Gpt2Cache) -> Result<Tensor<3>, String> {
    let batch = TokenBatch::single(ids).map_err(|error| error.to_string())?;
    model
        .forward_cached(&batch, cache)
        .map_err(|error| error.to_string())
}

/// The most probable token of one row of logits.
pub(crate) fn likeliest(logits: Tensor<2>) -> Result<u32, String> {
    let best = logits.argmax(1).into_data();
    let best = best.iter::<i64>().next().unwrap_or_default();
    u32::try_from(best).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use bsbr_gpt2::Gpt2Config;
    use burn::tensor::Device;

    use super::*;
    use crate::compare::host;

    fn model() -> Gpt2 {
        let text = r#"{"model_type": "gpt2", "vocab_size": 40, "n_positions": 32,
                       "n_embd": 16, "n_layer": 2, "n_head": 2}"#;
        let config = Gpt2Config::from_json(text).unwrap();
        Gpt2::init(&config, 1, &Device::default()).unwrap()
    }

    #[test]
    fn pieces_give_what_the_whole_gives_and_the_next_token_follows() {
        let model = model();
        let ids: Vec<u32> = (0..23).collect();
        let (mut cache, logits) = read(&model, &ids, 100).unwrap();
        let next = likeliest(logits.clone()).unwrap();
        let whole = host(logits).unwrap();
        for piece in [0, 1, 5, 23] {
            let (pieces, logits) = read(&model, &ids, piece).unwrap();
            assert_eq!(pieces.lengths(), [23]);
            let logits = host(logits).unwrap();
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
            assert!(logits.iter().zip(&whole).all(near), "{piece}: {logits:?}");
        }
        // Keys and values of two layers, 16 dimensions each.
        assert_eq!(cache.bytes(), 2 * 2 * 16 * 23 * 4);

        let after = host(read_on(&model, next, &mut cache).unwrap()).unwrap();
        assert_eq!((cache.lengths(), after.len()), ([24].as_slice(), 40));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let model = model();
        assert!(read(&model, &[], 4).is_err());
        let reason = read(&model, &[1; 33], 4).unwrap_err();
        assert!(reason.contains("33") || reason.contains("32"), "{reason}");
    }
}
