//! `pytorch_model.bin`: tensors that a pickle describes.
//!
//! A pickle is a program for a stack machine that may call anything. It is read by the
//! `pytorch-reader` crate, which calls nothing: what it does not know it leaves out in silence.
//! Here every pickle is scanned first, so that one which names anything but the parts of tensors
//! is refused by that name, and so that no length or count in it costs more than a small file may.

mod container;
mod cursor;
mod scan;

use std::path::Path;
use std::sync::Arc;

use pytorch_reader::{DType, PytorchReader};
use safetensors::Dtype;

use crate::checkpoint::{Source, Stored};
use crate::error::LoadError;
use crate::mapped;

/// What errors call the format.
const FORMAT: &str = "PyTorch";

/// The tensors that the pickle at `path` describes; their storages are left unread.
///
/// # Errors
///
/// [`LoadError`] where the file is neither a ZIP archive nor a legacy file of `torch.save`, is
/// damaged, names what is no part of a tensor, or describes tensors larger than itself, or all of
/// them more than twice as large.
pub(crate) fn open(path: &Path) -> Result<Vec<(String, Stored)>, LoadError> {
    let map = mapped::map(path)?;
    container::check(path, &map)?;
    let size = map.len();
    drop(map);

    let reader = PytorchReader::new(path).map_err(|e| LoadError::malformed(path, FORMAT, e))?;
    let file: Arc<Path> = path.into();
    let mut total = 0usize;
    let tensors = reader
        .into_tensors()
        .into_iter()
        .map(|(name, tensor)| {
            // A stride of zero makes a tensor of any size from one element.
            if tensor.byte_len() > size {
                return Err(LoadError::tensor(
                    path,
                    &name,
                    format!(
                        "shape {:?} takes {} bytes, more than the file's {size}",
                        tensor.shape(),
                        tensor.byte_len()
                    ),
                ));
            }
            total = total.saturating_add(tensor.byte_len());
            let stored = Stored {
                file: file.clone(),
                dtype: dtype(tensor.dtype()),
                shape: tensor.shape().to_vec(),
                source: Source::Pickled(tensor),
            };
            Ok((name, stored))
        })
        .collect::<Result<Vec<_>, LoadError>>()?;
    // Any number of tensors can be made from one storage; of a model's, two are: `wte` and
    // `lm_head`.
    if total > size.saturating_mul(2) {
        return Err(LoadError::malformed(
            path,
            FORMAT,
            format!(
                "its tensors take {total} bytes together, more than twice its {size}: \
                 too many of them share their storages"
            ),
        ));
    }
    Ok(tensors)
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
