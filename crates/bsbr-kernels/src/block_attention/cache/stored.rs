//! A cache as lists of numbers, and its restoration.

use std::borrow::Cow;

use super::BlockCache;
use super::head::HeadCache;
use crate::block_attention::kept::{Codes, KeptRows};
use crate::block_attention::settings::{BlockAttention, KvBits};
use crate::block_attention::stored::{StoredCacheError, StoredLists, StoredNumbers};

/// The lists that are read, by name.
pub(super) struct Reader<'r, 'a> {
    take: &'r mut dyn FnMut(&str) -> Option<StoredNumbers<'a>>,
}

/// A type of numbers.
pub(super) trait Number: Copy {
    /// Its name.
    const NAME: &'static str;

    fn list<'a>(numbers: StoredNumbers<'a>) -> Result<Cow<'a, [Self]>, StoredNumbers<'a>>;
}

macro_rules! number {
    ($type:ty, $variant:ident) => {
        impl Number for $type {
            const NAME: &'static str = stringify!($type);

            fn list<'a>(numbers: StoredNumbers<'a>) -> Result<Cow<'a, [Self]>, StoredNumbers<'a>> {
                match numbers {
                    StoredNumbers::$variant(list) => Ok(list),
                    other => Err(other),
                }
            }
        }
    };
}

number!(f32, F32);
number!(i16, I16);
number!(i8, I8);
number!(u8, U8);
number!(u32, U32);

impl<'a> Reader<'_, 'a> {
    /// The list `name` of `count` numbers.
    pub(super) fn list<T: Number + 'a>(
        &mut self,
        name: &str,
        count: usize,
    ) -> Result<Vec<T>, StoredCacheError>
    where
        [T]: ToOwned<Owned = Vec<T>>,
    {
        let missing = || StoredCacheError::Missing { name: name.into() };
        let numbers = (self.take)(name).ok_or_else(missing)?;
        let found = numbers.describe();
        match T::list(numbers) {
            Ok(list) if list.len() == count => Ok(list.into_owned()),
            _ => Err(StoredCacheError::Unlike {
                name: name.into(),
                found,
                expected: format!("{count} numbers in {}", T::NAME),
            }),
        }
    }
}

impl BlockCache {
    /// The contents of the cache.
    pub fn stored(&self) -> StoredLists<'_> {
        let mut lists = Vec::new();
        for (number, head) in self.heads.iter().enumerate() {
            head.store(&number.to_string(), &mut lists);
        }
        lists
    }

    /// The cache of `rows` sequences of `tokens` tokens from stored lists, with the settings of
    /// this empty one. `take` returns each list by its name.
    ///
    /// # Errors
    ///
    /// [`StoredCacheError`] if a list does not fit such a cache.
    pub fn restored<'a>(
        &self,
        [rows, heads, tokens, head_dim]: [usize; 4],
        take: &mut dyn FnMut(&str) -> Option<StoredNumbers<'a>>,
    ) -> Result<Self, StoredCacheError> {
        let mut reader = Reader { take };
        let mut cache = Self::new(self.settings);
        cache.rounds_near = self.rounds_near;
        cache.tokens = tokens;
        for number in 0..rows * heads {
            let settings = self.settings.of_head(number % heads);
            let empty = HeadCache::new(settings, head_dim, self.rounds_near);
            let head = empty.restored(&number.to_string(), tokens, &mut reader)?;
            cache.heads.push(head);
        }
        Ok(cache)
    }
}

/// Sizes of a head's cache of `tokens` tokens.
pub(super) struct Sizes {
    /// Chunks that are far.
    pub(super) chunks: usize,
    /// Tokens before the first near one.
    pub(super) near: usize,
    /// Sinks that are not near tokens.
    pub(super) sinks: usize,
}

impl Sizes {
    pub(super) fn of(settings: &BlockAttention, tokens: usize) -> Self {
        let chunk = tokens.saturating_sub(settings.grid.sinks) / settings.grid.chunk_size.max(1);
        match settings.grid.far_of(chunk) {
            0 => Self {
                chunks: 0,
                near: 0,
                sinks: 0,
            },
            chunks => Self {
                chunks,
                near: settings.grid.start_of(chunks),
                sinks: settings.grid.sinks,
            },
        }
    }
}

impl KeptRows {
    /// Adds the lists of these rows under names that begin with `name`.
    pub(super) fn store<'a>(&'a self, name: &str, lists: &mut StoredLists<'a>) {
        let codes = match &self.codes {
            Codes::Four(codes) => StoredNumbers::U8(codes.into()),
            Codes::Eight(codes) => StoredNumbers::I8(codes.into()),
            Codes::Sixteen(codes) => StoredNumbers::I16(codes.into()),
            Codes::Whole(codes) => StoredNumbers::F32(codes.into()),
        };
        lists.push((format!("{name}.codes"), codes));
        let grids = [("scales", &self.scales), ("offsets", &self.offsets)];
        for (grid, numbers) in grids.into_iter().filter(|(_, list)| !list.is_empty()) {
            lists.push((format!("{name}.{grid}"), StoredNumbers::F32(numbers.into())));
        }
    }

    /// `count` rows of the form of this empty one.
    pub(super) fn restored(
        mut self,
        name: &str,
        count: usize,
        reader: &mut Reader<'_, '_>,
    ) -> Result<Self, StoredCacheError> {
        let numbers = count * self.stride();
        let of_codes = format!("{name}.codes");
        self.codes = match self.bits {
            KvBits::Four => Codes::Four(reader.list(&of_codes, numbers / 2)?),
            KvBits::Eight => Codes::Eight(reader.list(&of_codes, numbers)?),
            KvBits::Sixteen => Codes::Sixteen(reader.list(&of_codes, numbers)?),
            KvBits::ThirtyTwo => Codes::Whole(reader.list(&of_codes, numbers)?),
        };
        if count > 0 && self.bits != KvBits::ThirtyTwo {
            self.scales = reader.list(&format!("{name}.scales"), count)?;
        }
        if count > 0 && self.bits == KvBits::Four {
            self.offsets = reader.list(&format!("{name}.offsets"), count)?;
        }
        Ok(self)
    }
}
