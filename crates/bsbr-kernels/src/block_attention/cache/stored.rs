//! A cache as lists of numbers, and its restoration.

use std::borrow::Cow;
use std::ops::Range;

use super::BlockCache;
use super::head::HeadCache;
use crate::block_attention::kept::{Codes, KeptRows};
use crate::block_attention::settings::KvBits;
use crate::block_attention::stored::{StoredCacheError, StoredLists, StoredNumbers};

/// The names of the lists of keys and of values.
const SIDES: [&str; 2] = ["keys", "values"];

/// The lists that are read, by name.
struct Reader<'r, 'a> {
    take: &'r mut dyn FnMut(&str) -> Option<StoredNumbers<'a>>,
}

/// A type of numbers.
trait Number: Copy {
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
    fn list<T: Number + 'a>(&mut self, name: &str, count: usize) -> Result<Vec<T>, StoredCacheError>
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

impl Reader<'_, '_> {
    /// `count` keys and values under names that begin with `name`, of the form of empty ones.
    fn rows(
        &mut self,
        empty: &[KeptRows; 2],
        name: &str,
        count: usize,
    ) -> Result<[KeptRows; 2], StoredCacheError> {
        let [keys, values] = empty.clone();
        Ok([
            keys.restored(&format!("{name}.keys"), count, self)?,
            values.restored(&format!("{name}.values"), count, self)?,
        ])
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

impl HeadCache {
    /// Adds the contents as lists under names that begin with `name`.
    fn store<'a>(&'a self, name: &str, lists: &mut StoredLists<'a>) {
        for (part, numbers) in [("sinks", &self.sinks), ("window", &self.window)] {
            for (of, numbers) in SIDES.into_iter().zip(numbers) {
                let name = format!("{name}.{part}.{of}");
                lists.push((name, StoredNumbers::F32((&**numbers).into())));
            }
        }
        let mut kept = vec![("means", &self.means), ("far", &self.far)];
        kept.extend(self.rounded.iter().map(|rounded| ("rounded", rounded)));
        let mut numbers = vec![("ends", &self.ends)];
        if self.settings.spans.chunks > 0 {
            kept.push(("merged", &self.spans.means));
            kept.push(("members", &self.spans.members));
            numbers.push(("order", &self.spans.order));
            numbers.push(("spans", &self.spans.ends));
        }
        for (part, numbers) in numbers {
            lists.push((format!("{name}.{part}"), StoredNumbers::U32(numbers.into())));
        }
        for (part, sides) in kept {
            for (of, rows) in SIDES.into_iter().zip(sides) {
                rows.store(&format!("{name}.{part}.{of}"), lists);
            }
        }
    }

    /// The head of `tokens` tokens that stored these lists, with the settings of this empty one.
    fn restored(
        mut self,
        name: &str,
        tokens: usize,
        reader: &mut Reader<'_, '_>,
    ) -> Result<Self, StoredCacheError> {
        let (d, settings) = (self.d, self.settings);
        let chunks = settings.grid.far_of_token(tokens);
        // Until a chunk is far, sinks are near tokens.
        let (near, sinks) = match chunks {
            0 => (0, 0),
            _ => (settings.grid.start_of(chunks), settings.grid.sinks),
        };
        let window = match self.rounded {
            None => tokens - near,
            Some(_) => 0,
        };
        let clusters = chunks * settings.clusters;
        let merged = settings.spans.of(chunks) * settings.clusters;
        let unmerged = clusters - merged * settings.spans.chunks;
        let far = match settings.exact_clusters {
            0 => 0,
            _ => chunks * settings.grid.chunk_size,
        };
        for (number, of) in SIDES.into_iter().enumerate() {
            let part = |part: &str| format!("{name}.{part}.{of}");
            self.sinks[number] = reader.list(&part("sinks"), sinks * d)?.into();
            self.window[number] = reader.list(&part("window"), window * d)?.into();
        }
        self.means = reader.rows(&self.means, &format!("{name}.means"), unmerged)?;
        self.far = reader.rows(&self.far, &format!("{name}.far"), far)?;
        if let Some(rounded) = &mut self.rounded {
            *rounded = reader.rows(rounded, &format!("{name}.rounded"), tokens)?;
        }
        self.ends = reader.list(&format!("{name}.ends"), clusters)?;
        self.check_ends(name)?;
        if settings.spans.chunks > 0 {
            self.restore_spans(name, merged, reader)?;
        }
        self.tokens = tokens;
        self.near = near;
        Ok(self)
    }

    /// Checks that the clusters of each far chunk contain exactly its tokens.
    fn check_ends(&self, name: &str) -> Result<(), StoredCacheError> {
        let (g, size) = (self.settings.clusters, self.settings.grid.chunk_size);
        for (chunk, ends) in self.ends.chunks_exact(g.max(1)).enumerate() {
            let expected = (chunk + 1) * size;
            let rises = risen((chunk * size) as u32, ends);
            if rises.is_none_or(|end| end as usize != expected) {
                return Err(StoredCacheError::Unlike {
                    name: format!("{name}.ends"),
                    found: format!("{ends:?} for chunk {chunk}"),
                    expected: format!("numbers that rise to {expected}"),
                });
            }
        }
        Ok(())
    }

    /// Restores what the head keeps of spans with `merged` merged clusters.
    fn restore_spans(
        &mut self,
        name: &str,
        merged: usize,
        reader: &mut Reader<'_, '_>,
    ) -> Result<(), StoredCacheError> {
        let (g, of_span) = (
            self.settings.clusters,
            self.settings.spans.chunks * self.settings.clusters,
        );
        let is_used = |cluster: &usize| !self.members(*cluster).is_empty();
        let used = |clusters: Range<usize>| clusters.filter(is_used).map(|cluster| cluster as u32);
        let members = used(0..merged * self.settings.spans.chunks).count();
        let order: Vec<u32> = reader.list(&format!("{name}.order"), members)?;
        let ends: Vec<u32> = reader.list(&format!("{name}.spans"), merged)?;
        // Each span's merged clusters contain exactly its clusters.
        let mut start = 0;
        for (span, ends) in ends.chunks_exact(g).enumerate() {
            let expected: Vec<u32> = used(span * of_span..(span + 1) * of_span).collect();
            let end = risen(start, ends);
            let found = end.and_then(|end| order.get(start as usize..end as usize));
            let mut found = found.unwrap_or_default().to_vec();
            found.sort_unstable();
            if end.is_none() || found != expected {
                return Err(StoredCacheError::Unlike {
                    name: format!("{name}.order"),
                    found: format!("{found:?} for span {span}"),
                    expected: format!("{expected:?} in some order"),
                });
            }
            start = end.unwrap_or(start);
        }
        let kept = &mut self.spans;
        kept.means = reader.rows(&kept.means, &format!("{name}.merged"), merged)?;
        kept.members = reader.rows(&kept.members, &format!("{name}.members"), members)?;
        (kept.order, kept.ends) = (order, ends);
        Ok(())
    }
}

/// The last of some ends that rise from `start`.
fn risen(start: u32, ends: &[u32]) -> Option<u32> {
    let mut ends = ends.iter();
    ends.try_fold(start, |before, &end| (end >= before).then_some(end))
}

impl KeptRows {
    /// Adds the lists of these rows under names that begin with `name`.
    fn store<'a>(&'a self, name: &str, lists: &mut StoredLists<'a>) {
        let codes = match &self.codes {
            Codes::Four(codes) => StoredNumbers::U8((&**codes).into()),
            Codes::Eight(codes) => StoredNumbers::I8((&**codes).into()),
            Codes::Sixteen(codes) => StoredNumbers::I16((&**codes).into()),
            Codes::Whole(codes) => StoredNumbers::F32((&**codes).into()),
        };
        lists.push((format!("{name}.codes"), codes));
        let grids = [("scales", &self.scales), ("offsets", &self.offsets)];
        for (grid, numbers) in grids.into_iter().filter(|(_, list)| !list.is_empty()) {
            lists.push((
                format!("{name}.{grid}"),
                StoredNumbers::F32((&**numbers).into()),
            ));
        }
    }

    /// `count` rows of the form of this empty one.
    fn restored(
        mut self,
        name: &str,
        count: usize,
        reader: &mut Reader<'_, '_>,
    ) -> Result<Self, StoredCacheError> {
        let numbers = count * self.stride();
        let of_codes = format!("{name}.codes");
        self.codes = match self.bits {
            KvBits::Four => Codes::Four(reader.list(&of_codes, numbers / 2)?.into()),
            KvBits::Eight => Codes::Eight(reader.list(&of_codes, numbers)?.into()),
            KvBits::Sixteen => Codes::Sixteen(reader.list(&of_codes, numbers)?.into()),
            KvBits::ThirtyTwo => Codes::Whole(reader.list(&of_codes, numbers)?.into()),
        };
        if count > 0 && self.bits != KvBits::ThirtyTwo {
            self.scales = reader.list(&format!("{name}.scales"), count)?.into();
        }
        if count > 0 && self.bits == KvBits::Four {
            self.offsets = reader.list(&format!("{name}.offsets"), count)?.into();
        }
        Ok(self)
    }
}
