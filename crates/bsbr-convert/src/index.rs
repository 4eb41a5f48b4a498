//! The index of a sharded checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::error::{LoadError, shorten};
use crate::mapped;
use crate::unique::UniqueMap;

/// The size limit of an index, in bytes.
const MAX_INDEX: u64 = 32 << 20;

/// The shard of each tensor.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    weight_map: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct IndexFile {
    weight_map: UniqueMap<String>,
}

impl Index {
    /// Reads an index, without reading the shards.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it cannot be read, or has no `weight_map` from names to file names.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let text = mapped::read_text(path, MAX_INDEX)?;
        let file: IndexFile = serde_json::from_str(&text).map_err(|e| LoadError::Index {
            path: path.into(),
            message: shorten(&e.to_string(), 300),
        })?;
        Ok(Self {
            path: path.into(),
            weight_map: file.weight_map.0,
        })
    }

    /// The shards with their expected tensors.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if a shard is missing, or outside the index's folder.
    pub(crate) fn shards(&self) -> Result<BTreeMap<PathBuf, Vec<&str>>, LoadError> {
        let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, shard) in &self.weight_map {
            by_name.entry(shard).or_default().push(tensor);
        }
        let mut shards = BTreeMap::new();
        for (shard, tensors) in by_name {
            let first = tensors.first().copied().unwrap_or_default();
            shards.insert(self.resolve(shard, first)?, tensors);
        }
        Ok(shards)
    }

    /// The names of the shards, each once, without checking that they exist.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if one is not a path inside a folder.
    pub(crate) fn shard_names(&self) -> Result<BTreeSet<&str>, LoadError> {
        let mut names = BTreeSet::new();
        for (tensor, shard) in &self.weight_map {
            self.check_name(shard, tensor)?;
            names.insert(shard.as_str());
        }
        Ok(names)
    }

    /// Refuses the name of a shard that is not a path inside a folder.
    fn check_name(&self, shard: &str, tensor: &str) -> Result<(), LoadError> {
        // `\` and `:` lead out of the folder on some systems; no real shard has them in its name.
        let plain = !shard.is_empty()
            && !shard.contains(['\\', ':', '\0'])
            && Path::new(shard)
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
        match plain {
            true => Ok(()),
            false => Err(self.outside(shard, tensor)),
        }
    }

    fn outside(&self, shard: &str, tensor: &str) -> LoadError {
        LoadError::ShardOutside {
            index: self.path.clone(),
            tensor: shorten(tensor, 120),
            shard: shorten(shard, 120),
        }
    }

    /// The path of a shard, which must be inside the folder after links are resolved.
    fn resolve(&self, shard: &str, tensor: &str) -> Result<PathBuf, LoadError> {
        self.check_name(shard, tensor)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let path = folder.join(shard);
        if !path.exists() {
            return Err(LoadError::MissingShard {
                index: self.path.clone(),
                shard: shorten(shard, 120),
                tensor: shorten(tensor, 120),
            });
        }
        let real_folder = folder.canonicalize().map_err(LoadError::io(folder))?;
        let real = path.canonicalize().map_err(LoadError::io(&path))?;
        if real.starts_with(&real_folder) || in_hub_cache(&real_folder, &real) {
            Ok(path)
        } else {
            Err(self.outside(shard, tensor))
        }
    }
}

/// Whether `file` is a blob of the cache that contains the snapshot `folder`. The cache of the
/// Hugging Face Hub keeps `<model>/blobs/<hash>` and links to them from
/// `<model>/snapshots/<revision>`.
pub(crate) fn in_hub_cache(folder: &Path, file: &Path) -> bool {
    folder
        .parent()
        .filter(|parent| parent.ends_with("snapshots"))
        .and_then(Path::parent)
        .is_some_and(|model| file.starts_with(model.join("blobs")))
}
