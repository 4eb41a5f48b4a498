//! The tensors of a model folder, in any file format.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, TensorData};
use memmap2::Mmap;
use safetensors::Dtype;

use crate::error::LoadError;
use crate::folder::{ModelFolder, WeightFiles};
use crate::index::Index;
use crate::keys::is_needed;
use crate::numbers::{FloatType, Range};
use crate::{mapped, numbers, pickle, safetensors_file};

/// Named tensors on disk. Names, shapes and element types are checked; bytes are read on demand.
#[derive(Debug)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Stored>,
}

/// Where and how a tensor is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) file: Arc<Path>,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) source: Source,
}

/// How to read a tensor's bytes.
#[derive(Debug)]
pub(crate) enum Source {
    /// Bytes in a mapped file.
    Mapped {
        /// The file.
        map: Arc<Mmap>,
        /// Their range.
        range: ops::Range<usize>,
    },
    /// Bytes that a pickle describes how to gather.
    Pickled(pytorch_reader::Tensor),
}

/// One tensor of a [`Checkpoint`].
#[derive(Debug, Clone, Copy)]
pub struct StoredTensor<'a> {
    name: &'a str,
    stored: &'a Stored,
}

impl Checkpoint {
    /// Opens the weights of a folder, including all shards.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the invalid file, and the tensor if there is one.
    pub fn open(folder: &ModelFolder) -> Result<Self, LoadError> {
        let tensors = match folder.weights() {
            WeightFiles::Safetensors(path) | WeightFiles::Int8(path) => {
                unique(path, safetensors_file::open(path)?)?
            }
            WeightFiles::Pickle(path) => unique(path, pickle::open(path)?)?,
            WeightFiles::ShardedSafetensors(path) => {
                sharded(&Index::open(path)?, safetensors_file::open)?
            }
            WeightFiles::ShardedPickle(path) => sharded(&Index::open(path)?, pickle::open)?,
        };
        Ok(Self { tensors })
    }

    /// Opens one `.safetensors` file, or one pickle under any other name.
    ///
    /// # Errors
    ///
    /// [`LoadError`] names the invalid tensor if there is one.
    pub fn open_file(path: &Path) -> Result<Self, LoadError> {
        let tensors = if path.extension().is_some_and(|e| e == "safetensors") {
            safetensors_file::open(path)?
        } else {
            pickle::open(path)?
        };
        Ok(Self {
            tensors: unique(path, tensors)?,
        })
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = StoredTensor<'_>> {
        self.tensors
            .iter()
            .map(|(name, stored)| StoredTensor { name, stored })
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        self.tensors
            .get_key_value(name)
            .map(|(name, stored)| StoredTensor { name, stored })
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

impl<'a> StoredTensor<'a> {
    /// Its name in the file.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Its element type, as stored.
    pub fn dtype(&self) -> Dtype {
        self.stored.dtype
    }

    /// Its sizes, outermost first; none for a scalar.
    pub fn shape(&self) -> &'a [usize] {
        &self.stored.shape
    }

    /// The file that contains it.
    pub fn file(&self) -> &'a Path {
        &self.stored.file
    }

    /// Its elements in row-major order, little-endian: a view of the mapped file if possible, and a
    /// copy if a pickle scatters them.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if a pickled tensor's storage is missing, damaged or too short.
    pub fn bytes(&self) -> Result<Cow<'a, [u8]>, LoadError> {
        let wrong = |message: String| LoadError::tensor(self.file(), self.name, message);
        match &self.stored.source {
            Source::Mapped { map, range } => map
                .get(range.clone())
                .map(Cow::Borrowed)
                .ok_or_else(|| wrong("its bytes are not in the file".into())),
            Source::Pickled(tensor) => tensor
                .read()
                .map(Cow::Owned)
                .map_err(|e| wrong(e.to_string())),
        }
    }

    /// Its elements as f32, row-major; F64 is rounded.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it is no floating-point tensor, or cannot be read.
    pub fn to_f32(&self) -> Result<Vec<f32>, LoadError> {
        self.check_float()?;
        Ok(numbers::to_f32(self.dtype(), &self.bytes()?))
    }

    /// Its elements as tensor data, and their range.
    ///
    /// `as_stored` keeps the stored element type instead of f32, if weights can have that type in
    /// memory. Then nothing is copied from a mapped file, if `in_place` is set and the tensor is
    /// aligned for its elements. A part of the file that was copied is released to the system.
    ///
    /// # Errors
    ///
    /// Same as [`Self::to_f32`], and if the number of elements does not match `shape`.
    pub(crate) fn to_data(
        self,
        shape: &[usize],
        as_stored: bool,
        in_place: bool,
    ) -> Result<(TensorData, Range), LoadError> {
        self.check_float()?;
        let dtype = self.dtype();
        let bytes = self.bytes()?;
        let count = bytes.len() * 8 / dtype.bitsize();
        if count != shape.iter().product::<usize>() {
            return Err(LoadError::tensor(
                self.file(),
                self.name,
                format!("has {count} elements, expected shape {shape:?}"),
            ));
        }
        let found = numbers::range(dtype, &bytes);
        let own = FloatType::of(dtype).filter(|_| as_stored);
        if let (Some(own), true, Source::Mapped { map, range }) =
            (own, in_place, &self.stored.source)
            && let Some(bytes) = mapped::in_place(map, range.clone(), own.size())
        {
            let data = TensorData::from_bytes(bytes, shape.to_vec(), own.burn_dtype());
            return Ok((data, found));
        }
        let data = match own {
            Some(_) => numbers::to_data(dtype, &bytes, shape),
            None => TensorData::new(numbers::to_f32(dtype, &bytes), shape.to_vec()),
        };
        if let Source::Mapped { map, range } = &self.stored.source {
            mapped::forget(map, range.clone());
        }
        Ok((data, found))
    }

    /// Its elements of type I8, in the mapped file if `in_place` is set.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if they cannot be read.
    pub(crate) fn to_int8(self, in_place: bool) -> Result<TensorData, LoadError> {
        let shape = self.shape().to_vec();
        if let (true, Source::Mapped { map, range }) = (in_place, &self.stored.source)
            && let Some(bytes) = mapped::in_place(map, range.clone(), 1)
        {
            return Ok(TensorData::from_bytes(bytes, shape, DType::I8));
        }
        let bytes = self.bytes()?;
        let numbers: Vec<i8> = bytes.iter().map(|&byte| byte as i8).collect();
        Ok(TensorData::new(numbers, shape))
    }

    fn check_float(&self) -> Result<(), LoadError> {
        match numbers::is_float(self.dtype()) {
            true => Ok(()),
            false => Err(LoadError::ElementType {
                path: self.file().into(),
                tensor: self.name.into(),
                found: self.dtype().to_string(),
            }),
        }
    }
}

/// The tensors of one file; duplicate names are refused.
fn unique(
    path: &Path,
    tensors: Vec<(String, Stored)>,
) -> Result<BTreeMap<String, Stored>, LoadError> {
    let mut all = BTreeMap::new();
    for (name, stored) in tensors {
        add(path, &mut all, name, stored)?;
    }
    Ok(all)
}

/// The tensors of all shards, each in the shard that the index names. Tensors that a GPT-2 does not
/// need may be in a shard and not in the index, and are then ignored, or the other way round.
fn sharded(
    index: &Index,
    open: impl Fn(&Path) -> Result<Vec<(String, Stored)>, LoadError>,
) -> Result<BTreeMap<String, Stored>, LoadError> {
    let mut all = BTreeMap::new();
    for (shard, assigned) in index.shards()? {
        let mut assigned: BTreeSet<&str> = assigned.into_iter().collect();
        for (name, stored) in open(&shard)? {
            if !assigned.remove(name.as_str()) {
                if !is_needed(&name) {
                    continue;
                }
                return Err(LoadError::NotInIndex {
                    shard,
                    tensor: name,
                });
            }
            add(&shard, &mut all, name, stored)?;
        }
        if let Some(tensor) = assigned.iter().find(|name| is_needed(name)) {
            return Err(LoadError::NotInShard {
                tensor: (*tensor).to_owned(),
                shard,
            });
        }
    }
    Ok(all)
}

fn add(
    path: &Path,
    all: &mut BTreeMap<String, Stored>,
    name: String,
    stored: Stored,
) -> Result<(), LoadError> {
    if all.contains_key(&name) {
        return Err(LoadError::tensor(path, &name, "occurs twice"));
    }
    all.insert(name, stored);
    Ok(())
}
