//! JSON objects with unique keys and a limited size.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The maximum number of entries; a GPT-2 of a thousand layers has a sixth of it.
const MAX_ENTRIES: usize = 100_000;
/// The maximum length of a key, in bytes.
const MAX_KEY: usize = 1024;
/// The maximum number of dimensions.
const MAX_RANK: usize = 8;

/// The entries of a JSON object in the order of the file, without `__metadata__`.
///
/// Serde's own maps silently keep the last of duplicate keys, and grow with the file.
#[derive(Debug)]
pub(crate) struct UniqueMap<V>(pub(crate) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = UniqueMap<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Vec<(String, V)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if key.len() > MAX_KEY {
                        return Err(Error::custom(format!(
                            "a name has {} bytes, expected at most {MAX_KEY}",
                            key.len()
                        )));
                    }
                    if entries.len() == MAX_ENTRIES {
                        return Err(Error::custom(format!("more than {MAX_ENTRIES} entries")));
                    }
                    entries.push((key, map.next_value()?));
                }
                let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
                keys.sort_unstable();
                match keys.windows(2).find(|pair| pair[0] == pair[1]) {
                    Some(pair) => Err(Error::custom(format!("`{}` is named twice", pair[0]))),
                    None => Ok(UniqueMap(entries)),
                }
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// A shape of at most eight dimensions.
#[derive(Debug)]
pub(crate) struct Dims(pub(crate) Vec<u64>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;

        impl<'de> Visitor<'de> for Sizes {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == MAX_RANK {
                        return Err(Error::custom(format!("more than {MAX_RANK} dimensions")));
                    }
                    dims.push(dim);
                }
                Ok(Dims(dims))
            }
        }

        deserializer.deserialize_seq(Sizes)
    }
}
