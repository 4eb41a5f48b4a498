//! Lists of numbers as the stored form of a cache.

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

/// Lists of a cache, with unique names.
pub type StoredLists<'a> = Vec<(String, StoredNumbers<'a>)>;

/// Lists that do not fit the cache that they should restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredCacheError {
    /// A missing list.
    #[error("`{name}` is missing")]
    Missing {
        /// The list.
        name: String,
    },
    /// A list of a different type or length from the cache's.
    #[error("`{name}` has {found}, expected {expected}")]
    Unlike {
        /// The list.
        name: String,
        /// Its numbers.
        found: String,
        /// The cache's numbers.
        expected: String,
    },
}

impl StoredNumbers<'_> {
    /// The number and type of the numbers.
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
