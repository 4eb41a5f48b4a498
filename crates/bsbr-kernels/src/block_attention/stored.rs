//! Lists of numbers that a cache is stored as.

use std::borrow::Cow;

/// Numbers of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredNumbers<'a> {
    /// f32
    F32(Cow<'a, [f32]>),
    /// i16
    I16(Cow<'a, [i16]>),
    /// i8
    I8(Cow<'a, [i8]>),
    /// u8
    U8(Cow<'a, [u8]>),
    /// u32
    U32(Cow<'a, [u32]>),
}

/// Lists of a cache, each with a name that no other has.
pub type StoredLists<'a> = Vec<(String, StoredNumbers<'a>)>;

/// Lists that are none of a cache like the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredCacheError {
    /// A list that is not there.
    #[error("`{name}` is missing")]
    Missing {
        /// The list.
        name: String,
    },
    /// A list of other numbers, or of another length, than the cache has.
    #[error("`{name}` has {found}, expected {expected}")]
    Unlike {
        /// The list.
        name: String,
        /// What it has.
        found: String,
        /// What the cache has.
        expected: String,
    },
}

impl StoredNumbers<'_> {
    /// How many there are, and of what type.
    #[cfg(feature = "flex")]
    pub(super) fn describe(&self) -> String {
        let (count, name) = match self {
            Self::F32(list) => (list.len(), "f32"),
            Self::I16(list) => (list.len(), "i16"),
            Self::I8(list) => (list.len(), "i8"),
            Self::U8(list) => (list.len(), "u8"),
            Self::U32(list) => (list.len(), "u32"),
        };
        format!("{count} numbers in {name}")
    }
}
