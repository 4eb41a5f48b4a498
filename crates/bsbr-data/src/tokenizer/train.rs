//! Training of a byte-level BPE.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::{END_OF_TEXT, TextTokenizer, TokenizerError, gpt2_bytes};

/// A tokenizer around `model` that splits, decodes and ends texts like GPT-2's.
///
/// `<|endoftext|>` is not added to a model without it, because no model was trained with its id.
pub(super) fn byte_level(model: BPE) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_pre_tokenizer(Some(gpt2_bytes()))
        .with_post_processor(Some(gpt2_bytes()))
        .with_decoder(Some(gpt2_bytes()));
    if tokenizer.token_to_id(END_OF_TEXT).is_some() {
        tokenizer.add_special_tokens(&[AddedToken::from(END_OF_TEXT, true)]);
    }
    tokenizer
}

impl TextTokenizer {
    /// Trains a byte-level BPE like GPT-2's, with `vocab_size` ids: 256 bytes, the merges, and
    /// `<|endoftext|>` as the last one. There are fewer if the texts are too short for so many
    /// merges.
    ///
    /// The same texts give the same tokenizer, byte for byte.
    pub fn train_bpe<I, S>(texts: I, vocab_size: usize) -> Result<Self, TokenizerError>
    where
        I: IntoIterator<Item = S>,
        I::IntoIter: Send,
        S: AsRef<str> + Send,
    {
        let bpe = BpeTrainer::builder()
            .vocab_size(vocab_size.saturating_sub(1))
            .min_frequency(0)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut trainer = TrainerWrapper::BpeTrainer(bpe);
        let mut inner = Tokenizer::new(BPE::default());
        inner.with_pre_tokenizer(Some(gpt2_bytes()));
        inner
            .train(&mut trainer, texts.into_iter())
            .map_err(|error| TokenizerError::Training {
                reason: error.to_string(),
            })?;
        inner
            .with_post_processor(Some(gpt2_bytes()))
            .with_decoder(Some(gpt2_bytes()));
        inner.add_special_tokens(&[AddedToken::from(END_OF_TEXT, true)]);
        Ok(inner.into())
    }
}
