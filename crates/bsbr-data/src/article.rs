//! Articles and highlights, for summarisation.

use crate::storybook::Domain;

/// An article and sentences that restate its main points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// The text; ends with a newline.
    pub text: String,
    /// Its main points, a few sentences.
    pub highlights: Vec<String>,
    /// The domain of its prose, if it is from storybook.
    pub domain: Option<Domain>,
}

impl Article {
    /// The article and `TL;DR:`. A model continues with a space and a summary, up to the end of
    /// the line.
    pub fn prompt(&self) -> String {
        format!("{}TL;DR:", self.text)
    }

    /// The article with its highlights after `TL;DR:`, for training.
    pub fn training_text(&self) -> String {
        format!("{} {}\n", self.prompt(), self.highlights.join(" "))
    }
}
