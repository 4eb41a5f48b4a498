//! Articles and what restates them, for summarisation.

use crate::storybook::Domain;

/// An article and the sentences that restate what matters in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Article {
    /// The text; ends with a newline.
    pub text: String,
    /// What to remember of it, a few sentences.
    pub highlights: Vec<String>,
    /// The domain of its prose, where storybook wrote it.
    pub domain: Option<Domain>,
}

impl Article {
    /// The article and `TL;DR:`; a model goes on with a space and a summary, up to the end of the
    /// line.
    pub fn prompt(&self) -> String {
        format!("{}TL;DR:", self.text)
    }

    /// The article with its highlights after `TL;DR:`, as a model is trained on it.
    pub fn training_text(&self) -> String {
        format!("{} {}\n", self.prompt(), self.highlights.join(" "))
    }
}
