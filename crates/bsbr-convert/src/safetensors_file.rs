//! One safetensors file, mapped and checked.
//!
//! The header is parsed here, because the `safetensors` crate silently keeps the last of duplicate
//! names, does not name the invalid tensor, and holds arbitrary JSON from the header.

use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::Dtype;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};

use crate::checkpoint::{Source, Stored};
use crate::error::{LoadError, shorten};
use crate::mapped;
use crate::unique::{Dims, UniqueMap};

const FORMAT: &str = "safetensors";
/// Bytes of the header's length at the start of a file.
const LENGTH_BYTES: usize = 8;
/// The longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// A tensor's entry in a header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Dims,
    data_offsets: [u64; 2],
}

/// The tensors of the file at `path`; their bytes stay in the file.
///
/// # Errors
///
/// [`LoadError`] if the file cannot be mapped, or if its header is invalid: longer than the file
/// or than the format allows, no JSON, duplicate names, unknown types, or offsets that do not
/// place the tensors consecutively through the rest of the file.
pub(crate) fn open(path: &Path) -> Result<Vec<(String, Stored)>, LoadError> {
    let map = Arc::new(mapped::map(path)?);
    let header = header_of(path, &map)?;
    let data_start = LENGTH_BYTES + header.len();
    let data_len = (map.len() - data_start) as u64;
    let UniqueMap(mut entries) = serde_json::from_slice::<UniqueMap<Entry>>(header)
        .map_err(|e| LoadError::malformed(path, FORMAT, format!("its header: {e}")))?;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);

    let file: Arc<Path> = path.into();
    let mut expected_start = 0;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let (dtype, shape) = check(&entry, expected_start, data_len)
            .map_err(|m| LoadError::tensor(path, &name, m))?;
        let [start, end] = entry.data_offsets;
        expected_start = end;
        tensors.push((
            name,
            Stored {
                file: file.clone(),
                dtype,
                shape,
                source: Source::Mapped {
                    map: map.clone(),
                    // Within the map, whose length is a usize.
                    range: data_start + start as usize..data_start + end as usize,
                },
            },
        ));
    }
    if expected_start != data_len {
        return Err(LoadError::malformed(
            path,
            FORMAT,
            format!("its tensors end at byte {expected_start} but the data has {data_len} bytes"),
        ));
    }
    Ok(tensors)
}

/// The header's JSON.
fn header_of<'a>(path: &Path, map: &'a Mmap) -> Result<&'a [u8], LoadError> {
    let malformed = |message: String| LoadError::malformed(path, FORMAT, message);
    let (length, rest) = map
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| malformed(format!("it has {} bytes, too few for a header", map.len())))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return Err(malformed(format!(
            "it declares a header of {length} bytes, expected at most {MAX_HEADER}"
        )));
    }
    let header = rest.get(..length as usize).ok_or_else(|| {
        malformed(format!(
            "it declares a header of {length} bytes but only {} follow; it is cut short",
            rest.len()
        ))
    })?;
    if header.first() != Some(&b'{') {
        return Err(malformed("its header does not start with `{`".into()));
    }
    Ok(header)
}

/// Element type and shape of an entry whose bytes must start at `expected_start`.
fn check(entry: &Entry, expected_start: u64, data_len: u64) -> Result<(Dtype, Vec<usize>), String> {
    let dtype: StrDeserializer<'_, ValueError> = entry.dtype.as_str().into_deserializer();
    let dtype = Dtype::deserialize(dtype)
        .map_err(|_| format!("unknown element type `{}`", shorten(&entry.dtype, 40)))?;
    let [start, end] = entry.data_offsets;
    if start != expected_start {
        return Err(format!(
            "its bytes start at {start}, expected {expected_start}: tensors follow each other \
             without gap or overlap"
        ));
    }
    if end < start || end > data_len {
        return Err(format!(
            "its bytes are {start} to {end}, but the data has {data_len} bytes"
        ));
    }
    let Dims(dims) = &entry.shape;
    let bits = dims
        .iter()
        .try_fold(dtype.bitsize() as u64, |bits, &dim| bits.checked_mul(dim))
        .ok_or_else(|| format!("its shape {dims:?} overflows"))?;
    if bits != 8 * (end - start) {
        return Err(format!(
            "{dtype} of shape {dims:?} takes {} bytes, but it has {}",
            bits.div_ceil(8),
            end - start
        ));
    }
    let shape = dims
        .iter()
        .map(|&dim| usize::try_from(dim).map_err(|_| format!("its shape {dims:?} overflows")))
        .collect::<Result<_, _>>()?;
    Ok((dtype, shape))
}
