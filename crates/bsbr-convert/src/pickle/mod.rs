//! `pytorch_model.bin`: tensors described by a pickle.
//!
//! A pickle is a program for a stack machine that may call anything. The `pytorch-reader` crate
//! reads it without calls and silently ignores unknown parts. Therefore every pickle is scanned
//! first. A pickle with names other than those of tensor parts is refused, and lengths and counts
//! are limited to what a small file may cost.

mod container;
mod scan;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pytorch_reader::{DType, PytorchReader};
use safetensors::Dtype;

use crate::checkpoint::{Source, Stored};
use crate::error::LoadError;
use crate::mapped;

/// The tensors that the pickle at `path` describes; their storages are not read.
///
/// # Errors
///
/// [`LoadError`] if the file is neither a ZIP archive nor a legacy file of `torch.save`, is
/// damaged, contains a name that is not part of a tensor, or describes a tensor larger than the
/// file, or tensors with more than twice its size in total.
pub(crate) fn open(path: &Path) -> Result<Vec<(String, Stored)>, LoadError> {
    let map = mapped::map(path)?;
    container::check(path, &map)?;
    let size = map.len();
    drop(map);

    let reader = PytorchReader::new(path).map_err(|error| malformed(path, error))?;
    let file: Arc<Path> = path.into();
    let mut total = 0usize;
    let mut tensors = Vec::new();
    for (name, tensor) in reader.into_tensors() {
        let (shape, length) = (tensor.shape().to_vec(), tensor.byte_len());
        // With a stride of zero, one element makes a tensor of any size.
        if length > size {
            let message =
                format!("shape {shape:?} takes {length} bytes, more than the file's {size}");
            return Err(LoadError::tensor(path, &name, message));
        }
        total = total.saturating_add(length);
        let stored = Stored {
            file: file.clone(),
            dtype: dtype(tensor.dtype()),
            shape,
            source: Source::Pickled(tensor),
        };
        tensors.push((name, stored));
    }
    // Many tensors can share one storage; in a model, two do: `wte` and `lm_head`.
    if total > size.saturating_mul(2) {
        let message = format!(
            "its tensors take {total} bytes together, more than twice its {size}: too many of \
             them share storage"
        );
        return Err(malformed(path, message));
    }
    Ok(tensors)
}

fn malformed(path: &Path, message: impl fmt::Display) -> LoadError {
    LoadError::malformed(path, "PyTorch", message)
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
