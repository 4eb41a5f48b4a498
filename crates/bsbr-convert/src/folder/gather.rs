//! Collects a model folder from a source that provides files one by one.

use std::error::Error;
use std::path::PathBuf;

use super::names::{CONFIG, MAX_UNKNOWN, MOST_UNKNOWN, USUAL, WEIGHTS, companions};
use crate::error::LoadError;
use crate::index::Index;

/// A source that makes a model's files local by name, such as a repository on the Hub.
pub trait FileSource {
    /// Why a file is unavailable.
    type Error: Error + 'static;

    /// The paths of all files; `None` if the source has no listing.
    ///
    /// # Errors
    ///
    /// Why the list is unavailable.
    fn list(&mut self) -> Result<Option<Vec<String>>, Self::Error>;

    /// Makes a file local; `None` if it does not exist, or has more than `max` bytes.
    ///
    /// # Errors
    ///
    /// Why the file is unavailable.
    fn fetch(&mut self, name: &str, max: Option<u64>) -> Result<Option<PathBuf>, Self::Error>;
}

/// A model whose files cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum GatherError<E: Error + 'static> {
    /// An error of the source.
    #[error(transparent)]
    Source(E),
    /// Required files are missing.
    #[error("{} missing", .0.join(", "))]
    Missing(Vec<String>),
    /// An index of weights that is invalid, or that names files outside the folder.
    #[error(transparent)]
    Index(#[from] LoadError),
}

/// Makes the files of a model local: those of a [`ModelFolder`](super::ModelFolder), without
/// weights in other formats.
///
/// The tokenizer comes before the weights, so an unusable model costs little. Without a listing,
/// the files that `transformers` reads are requested, and must include a tokenizer.
///
/// # Errors
///
/// [`GatherError`], which names all missing files that can be found out at no cost.
pub fn gather<S: FileSource>(source: &mut S) -> Result<(), GatherError<S::Error>> {
    let listed = source.list().map_err(GatherError::Source)?;
    let mut missing = Vec::new();
    let mut fetch = |name: &str, max| {
        let there = listed
            .as_ref()
            .is_none_or(|all| all.iter().any(|one| one == name));
        match there {
            true => source.fetch(name, max).map_err(GatherError::Source),
            false => Ok(None),
        }
    };
    if fetch(CONFIG, None)?.is_none() {
        missing.push(CONFIG.to_owned());
    }
    let mut usual = Vec::new();
    for name in USUAL {
        if fetch(name, None)?.is_some() {
            usual.push(name);
        }
    }
    let has_tokenizer = usual.contains(&"tokenizer.json")
        || ["vocab.json", "merges.txt"]
            .iter()
            .all(|name| usual.contains(name));
    if listed.is_none() && !has_tokenizer {
        missing.push("tokenizer.json (or vocab.json and merges.txt)".to_owned());
    }
    if missing.is_empty() {
        let unknown = companions(listed.as_deref().unwrap_or_default());
        let unknown = unknown.into_iter().filter(|name| !USUAL.contains(name));
        let mut fetched = 0;
        for name in unknown {
            if fetched < MOST_UNKNOWN && fetch(name, Some(MAX_UNKNOWN))?.is_some() {
                fetched += 1;
            }
        }
    }
    missing.extend(weights(&mut fetch, missing.is_empty())?);
    match missing.is_empty() {
        true => Ok(()),
        false => Err(GatherError::Missing(missing)),
    }
}

/// Fetches the weights if everything else is there; otherwise only an index, to report missing
/// files.
fn weights<E: Error + 'static>(
    fetch: &mut impl FnMut(&str, Option<u64>) -> Result<Option<PathBuf>, GatherError<E>>,
    usable: bool,
) -> Result<Vec<String>, GatherError<E>> {
    if !usable {
        return Ok(Vec::new());
    }
    for name in WEIGHTS {
        let Some(path) = fetch(name, None)? else {
            continue;
        };
        let mut missing = Vec::new();
        if name.ends_with(".index.json") {
            for shard in Index::open(&path)?.shard_names()? {
                if fetch(shard, None)?.is_none() {
                    missing.push(shard.to_owned());
                }
            }
        }
        return Ok(missing);
    }
    Ok(vec![format!(
        "{} (or {})",
        WEIGHTS[0],
        WEIGHTS[1..].join(" or ")
    )])
}
