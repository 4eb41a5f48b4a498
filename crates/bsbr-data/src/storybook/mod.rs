//! *Storybook*: a seeded generator of English-like documents about people, places
//! and things. Documents state facts once and ask for them later.
//!
//! Everything is a pure function of (seed, split, index): these numbers form a
//! document's own ChaCha8 key, so no two splits share a document.

mod article;
mod facts;
mod plain;
mod prose;
mod qa;
mod rng;
mod sample;
mod scene;
mod text;
mod training;
mod words;

pub use crate::article::Article;
pub use facts::{Fact, FactKind};
pub use plain::PlainDocument;
pub use qa::{QaItem, QaSpec, tokens_between};
pub use training::{AnsweredFact, TrainingDocument, TrainingSpec};

pub(crate) use rng::{Purpose, stream};

use serde::{Deserialize, Serialize};

/// The version of the generator; raise it when any text changes. Reports include it in the
/// identity of their records, so that nothing measured on other texts is used again.
pub const VERSION: u64 = 0;

/// The split of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Split {
    /// For training.
    Train = 0,
    /// For choices of settings.
    Validation = 1,
    /// For reported results.
    Test = 2,
}

/// The style of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Domain {
    /// Journeys, finds, errands, gifts and speech.
    #[default]
    Tale = 0,
    /// Datelines, reports, quotes.
    News = 1,
    /// Two speakers in turn.
    Dialogue = 2,
    /// Numbered steps.
    Procedure = 3,
    /// Rows of goods and totals.
    Ledger = 4,
}

impl Domain {
    /// All domains.
    pub const ALL: [Self; 5] = [
        Self::Tale,
        Self::News,
        Self::Dialogue,
        Self::Procedure,
        Self::Ledger,
    ];
}

/// The generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storybook {
    seed: u64,
}

impl Storybook {
    /// The generator with `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Every word of facts: first names and the values of all kinds.
    pub fn fact_words() -> Vec<&'static str> {
        let mut all: Vec<&'static str> = words::SHE_NAMES.to_vec();
        all.extend_from_slice(&words::HE_NAMES);
        for kind in FactKind::ALL {
            all.extend_from_slice(kind.values());
        }
        all
    }
}
