//! The parts of a lab must belong together.

use bsbr_data::tokenizer::TokenizerError;
use bsbr_report::ReportError;
use bsbr_report::corpus::Corpus;
use bsbr_report::lab::Lab;

use crate::tiny;

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let tokens = tiny::tokenizer().vocab_size();
    let lab = |rows| {
        let corpus = Corpus::storybook(tiny::tokenizer()).unwrap();
        Lab::new("tiny", tiny::model(rows), "a hash".into(), "flex", corpus)
    };
    assert!(lab(tokens + 8).is_ok(), "a rounded up embedding");
    let rows = tokens - 1;
    let error = lab(rows).unwrap_err();
    assert!(
        matches!(
            error,
            ReportError::Tokenizer(TokenizerError::NoEmbedding { id, rows: known, .. })
                if id as usize == rows && known == rows
        ),
        "{error}"
    );
}
