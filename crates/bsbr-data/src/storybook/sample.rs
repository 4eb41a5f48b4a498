//! Training texts of the tokenizer.

use super::facts::FactKind;
use super::{Domain, Split, Storybook, TrainingSpec};

impl Storybook {
    /// Texts for [`TextTokenizer::train_bpe`](crate::tokenizer::TextTokenizer::train_bpe):
    /// documents of all kinds, and repeated fact words, so that each of them becomes one
    /// token.
    pub fn tokenizer_texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for index in 0..120 {
            for domain in Domain::ALL {
                texts.push(self.plain(Split::Train, domain, index, 500).text);
            }
            texts.push(self.article(Split::Train, index).training_text());
            let spec = TrainingSpec {
                facts_per_person: FactKind::ALL.len() as f32,
                ..TrainingSpec::default()
            };
            texts.push(self.training_document(Split::Train, index, &spec).text);
        }
        let mut list = String::new();
        for word in Self::fact_words() {
            list.push(' ');
            list.push_str(word);
        }
        texts.extend(std::iter::repeat_n(list, 400));
        texts
    }
}
