//! The cache of a text, stored in a file.
//!
//! The file has the format of safetensors: the ids of the text, and the lists of the cache by
//! name. Its metadata identify model, arms and tokenizer, and contain a checksum of all
//! numbers.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use bsbr_files::{FileError, write_file_at};
use bsbr_gpt2::parameters::visit_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Cache, StoredCacheError};
use bsbr_kernels::StoredNumbers;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};

use crate::mapped;

/// The format name in the metadata.
const FORMAT: &str = "bsbr-cache";
/// The version of the format.
const VERSION: &str = "1";
/// The tensor of the ids.
const IDS: &str = "ids";

/// The model that a cache belongs to. Two owners match if all fields but the names are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOwner {
    /// The user's name for the model.
    pub name: String,
    /// Hash of its weights, as they are in memory.
    pub weights: String,
    /// Its arms, as in `config.json`.
    pub arms: String,
    /// Hash of its tokenizer.
    pub tokenizer: String,
}

/// A text that was read.
#[derive(Debug, Clone)]
pub struct ReadText {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// The model's cache for these tokens.
    pub cache: Gpt2Cache,
}

/// A cache that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CacheFileError {
    /// A path that cannot be written.
    #[error(transparent)]
    Output(#[from] FileError),
    /// A file that is no cache, or damaged.
    #[error("{}: {message}; remove it, or name another file for the cache", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The error.
        message: String,
    },
    /// A cache of another owner.
    #[error(
        "{}: a cache of {what} {found}, expected {expected}; name another file, or remove this one",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// The owner of the cache.
        found: String,
        /// The owner that reads it.
        expected: String,
    },
    /// A cache that cannot be stored.
    #[error("{}: {source}", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// The error.
        source: StoredCacheError,
    },
}

impl CacheOwner {
    /// The owner for `model`, which is called `name`, and for this tokenizer, as JSON.
    pub fn of(model: &Gpt2, name: &str, tokenizer: &str) -> Self {
        let config = model.config();
        let arms: Vec<_> = model.arms().collect();
        let mut weights = Sha256::new();
        visit_tensors(model, |name, data| {
            let (dtype, shape) = (data.dtype(), data.shape());
            weights.update(format!("{name}:{dtype:?}:{shape:?};"));
            weights.update(data.as_bytes());
        });
        weights.update(config.n_positions.to_le_bytes());
        Self {
            name: name.to_owned(),
            weights: format!("{:x}", weights.finalize()),
            arms: serde_json::to_string(&arms).unwrap_or_default(),
            tokenizer: format!("{:x}", Sha256::digest(tokenizer)),
        }
    }
}

/// Writes `model`'s cache of the text `ids`, under a temporary name that is then renamed.
///
/// # Errors
///
/// [`CacheFileError`] if the path cannot be written, or if the cache cannot be stored.
pub fn save_cache(
    path: &Path,
    owner: &CacheOwner,
    ids: &[u32],
    cache: &Gpt2Cache,
) -> Result<(), CacheFileError> {
    let lists = cache.stored().map_err(|source| CacheFileError::Cache {
        path: path.into(),
        source,
    })?;
    let ids = (IDS.to_owned(), StoredNumbers::U32(ids.into()));
    let lists: BTreeMap<String, List<'_>> = std::iter::once(ids)
        .chain(lists)
        .map(|(name, numbers)| (name, List::new(numbers)))
        .collect();
    let checksum = checksum(
        lists
            .iter()
            .map(|(name, list)| (name.as_str(), list.bytes())),
    );
    let metadata = [
        ("format", FORMAT),
        ("version", VERSION),
        ("model", &owner.name),
        ("weights", &owner.weights),
        ("arms", &owner.arms),
        ("tokenizer", &owner.tokenizer),
        ("checksum", &checksum),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    write_file_at(path, |unfinished| {
        safetensors::serialize_to_file(lists, Some(metadata.into()), unfinished).map_err(|error| {
            let (path, source) = (path.into(), io::Error::other(error.to_string()));
            FileError::Io { path, source }.into()
        })
    })
}

/// Reads a cache of `model`.
///
/// The file is mapped, and each list is copied into memory once after the checksum is verified.
///
/// # Errors
///
/// [`CacheFileError`] if the file cannot be read, is no cache, is damaged, or belongs to
/// another model, other arms or another tokenizer than `owner`'s.
pub fn load_cache(
    path: &Path,
    owner: &CacheOwner,
    model: &Gpt2,
) -> Result<ReadText, CacheFileError> {
    let damaged = |message: String| CacheFileError::Damaged {
        path: path.into(),
        message,
    };
    let map = mapped::map(path).map_err(|error| damaged(error.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&map)
        .map_err(|error| damaged(format!("not the cache of a text: {error}")))?;
    let no_metadata = HashMap::new();
    let metadata = header.metadata().as_ref().unwrap_or(&no_metadata);
    let said = |key: &str| metadata.get(key).map(String::as_str).unwrap_or_default();
    if said("format") != FORMAT {
        return Err(damaged("not the cache of a text".into()));
    }
    check_owner(path, owner, said)?;
    let tensors = SafeTensors::deserialize(&map).map_err(|error| damaged(error.to_string()))?;
    let by_name: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
    let found = checksum(
        by_name
            .iter()
            .map(|(name, view)| (name.as_str(), view.data())),
    );
    if found != said("checksum") {
        return Err(damaged(
            "damaged: its checksum differs from its content".into(),
        ));
    }
    let take = |name: &str| by_name.get(name).and_then(numbers);
    let Some(StoredNumbers::U32(ids)) = take(IDS) else {
        return Err(damaged("damaged: it has no ids".into()));
    };
    let cache = model
        .restored_cache(ids.len(), take)
        .map_err(|error| damaged(format!("damaged: {error}")))?;
    Ok(ReadText {
        ids: ids.into_owned(),
        cache,
    })
}

fn check_owner<'a>(
    path: &Path,
    owner: &CacheOwner,
    said: impl Fn(&str) -> &'a str,
) -> Result<(), CacheFileError> {
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    let named = |name: &str, hash: &str| format!("`{name}` (weights {})", short(hash));
    let foreign = |what, found, expected| {
        Err(CacheFileError::Foreign {
            path: path.into(),
            what,
            found,
            expected,
        })
    };
    if said("version") != VERSION {
        return foreign("version", said("version").into(), VERSION.into());
    }
    if said("arms") != owner.arms {
        return foreign("the arms", said("arms").into(), owner.arms.clone());
    }
    if said("weights") != owner.weights {
        let found = named(said("model"), said("weights"));
        return foreign("the model", found, named(&owner.name, &owner.weights));
    }
    if said("tokenizer") != owner.tokenizer {
        let found = format!("{} of `{}`", short(said("tokenizer")), said("model"));
        let expected = format!("{} of `{}`", short(&owner.tokenizer), owner.name);
        return foreign("the tokenizer", found, expected);
    }
    Ok(())
}

/// A list in the form that safetensors takes.
struct List<'a> {
    numbers: StoredNumbers<'a>,
    shape: [usize; 1],
}

impl<'a> List<'a> {
    fn new(numbers: StoredNumbers<'a>) -> Self {
        let count = match &numbers {
            StoredNumbers::F32(list) => list.len(),
            StoredNumbers::I16(list) => list.len(),
            StoredNumbers::I8(list) => list.len(),
            StoredNumbers::U8(list) => list.len(),
            StoredNumbers::U32(list) => list.len(),
        };
        Self {
            numbers,
            shape: [count],
        }
    }

    /// The bytes in the file, which equal those in memory on little-endian machines, the only
    /// supported ones.
    fn bytes(&self) -> &[u8] {
        match &self.numbers {
            StoredNumbers::F32(list) => bytemuck::cast_slice(list),
            StoredNumbers::I16(list) => bytemuck::cast_slice(list),
            StoredNumbers::I8(list) => bytemuck::cast_slice(list),
            StoredNumbers::U8(list) => list,
            StoredNumbers::U32(list) => bytemuck::cast_slice(list),
        }
    }
}

impl View for List<'_> {
    fn dtype(&self) -> Dtype {
        match &self.numbers {
            StoredNumbers::F32(_) => Dtype::F32,
            StoredNumbers::I16(_) => Dtype::I16,
            StoredNumbers::I8(_) => Dtype::I8,
            StoredNumbers::U8(_) => Dtype::U8,
            StoredNumbers::U32(_) => Dtype::U32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.bytes().into()
    }

    fn data_len(&self) -> usize {
        self.bytes().len()
    }
}

/// The numbers of a list in a file, copied to aligned memory.
fn numbers<'a>(view: &TensorView<'a>) -> Option<StoredNumbers<'a>> {
    let bytes = view.data();
    let (twos, fours) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
    Some(match view.dtype() {
        Dtype::F32 => StoredNumbers::F32(fours.iter().map(|x| f32::from_le_bytes(*x)).collect()),
        Dtype::I16 => StoredNumbers::I16(twos.iter().map(|x| i16::from_le_bytes(*x)).collect()),
        Dtype::I8 => StoredNumbers::I8(bytes.iter().map(|x| x.cast_signed()).collect()),
        Dtype::U8 => StoredNumbers::U8(bytes.into()),
        Dtype::U32 => StoredNumbers::U32(fours.iter().map(|x| u32::from_le_bytes(*x)).collect()),
        _ => return None,
    })
}

/// A hash of all lists and their names.
fn checksum<'a>(lists: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in lists {
        hash.update(name);
        hash.update([0]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    format!("{:x}", hash.finalize())
}
