//! Saving of a model as a folder.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path};

use bsbr_files::{FileError, check_folder, write_file, write_folder};
use bsbr_gpt2::{Gpt2, Gpt2Config, Int8Weight, ProductType};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::Value;

use crate::error::SaveError;
use crate::folder::Companion;
use crate::folder::names::{CARD, CONFIG, WEIGHTS};
use crate::int8;
use crate::keys::with_prefix;
use crate::numbers::FloatType;
use crate::transformers::{CODE, described};

/// How a model is saved.
#[derive(Debug, Clone, Default)]
pub struct SaveOptions {
    /// The element type of the weights in the file. Default: f32
    pub dtype: FloatType,
    /// Products for which the matrices of linear layers are rounded, in a format that only this
    /// project reads; everything else has type [`Self::dtype`]. Only 8 bits can be stored. Default:
    /// none
    pub weights: Option<ProductType>,
    /// Files to copy, such as those of the tokenizer, see
    /// [`ModelFolder::companions`](crate::ModelFolder::companions). Default: none
    pub companions: Vec<Companion>,
    /// The text of README.md; a README.md among the companions is kept instead. Default: none
    pub card: Option<String>,
    /// Whether weights may be NaN or infinite. Default: false
    pub allow_non_finite: bool,
}

/// Saves a model as a folder that `transformers` and [`load_model`](crate::load_model) can open:
/// `config.json`, `model.safetensors` with Hugging Face's names, the card and the companions. With
/// linear layers in 8 bits, the file is `model-int8.safetensors`, which `transformers` does not
/// open. If a layer has another arm than the original attention, the Python code for `transformers`
/// is written too.
///
/// `out` is created with its parent folders; it may exist only if it is empty. It is written under
/// a temporary name and renamed, so it is either complete or absent.
///
/// # Errors
///
/// [`SaveError`] if `out` is not empty or cannot be written, the linear layers cannot be stored for
/// these products, or names the tensor that the element type cannot represent. In this case nothing
/// is left behind.
pub fn save_model(
    model: &Gpt2,
    out: impl AsRef<Path>,
    options: &SaveOptions,
) -> Result<(), SaveError> {
    let int8 = in_8_bits(options)?;
    let config = config_for(model.config(), options).to_json()?;
    let weights = match int8 {
        false => WEIGHTS[0],
        true => WEIGHTS[4],
    };
    write_folder(out.as_ref(), |folder| {
        write_weights(model, &folder.join(weights), options)?;
        write_file(&folder.join(CONFIG), config.as_bytes())?;
        if !model.config().is_dense() {
            for (name, text) in CODE {
                write_file(&folder.join(name), text.as_bytes())?;
            }
        }
        if let Some(card) = &options.card {
            write_file(&folder.join(CARD), card.as_bytes())?;
        }
        options
            .companions
            .iter()
            .try_for_each(|file| copy_into(file, folder))
    })
}

/// Checks before any work that a model of this size can be saved at `out`.
///
/// # Errors
///
/// [`SaveError::Output`] and [`SaveError::NotStored`] like [`save_model`], and if the disk has too
/// little space.
pub fn check_output(
    model: &Gpt2,
    out: impl AsRef<Path>,
    options: &SaveOptions,
) -> Result<(), SaveError> {
    in_8_bits(options)?;
    let weights = model.num_params() * options.dtype.size();
    // A file that does not exist is reported when it is copied.
    let size = |file: &Companion| fs::metadata(&file.path).map_or(0, |found| found.len());
    let files = options.companions.iter().map(size);
    let bytes = weights as u64 + files.sum::<u64>() + BESIDE;
    Ok(check_folder(out.as_ref(), bytes)?)
}

/// Bytes reserved for the configuration, the card, the code and the header of the weights.
const BESIDE: u64 = 1 << 17;

/// Whether linear layers are stored in 8 bits.
fn in_8_bits(options: &SaveOptions) -> Result<bool, SaveError> {
    match options.weights {
        None => Ok(false),
        Some(ProductType::Int8) => Ok(true),
        Some(other) => Err(SaveError::NotStored {
            products: other.name(),
        }),
    }
}

/// The configuration, updated to describe the file.
fn config_for(mut config: Gpt2Config, options: &SaveOptions) -> Gpt2Config {
    config.other.remove(int8::KEY);
    if options.weights.is_some() {
        config.other.insert(int8::KEY.into(), int8::INT8.into());
    }
    let name = Value::from(options.dtype.torch_name());
    // `transformers` 5 renamed the key.
    let keys = ["dtype", "torch_dtype"];
    if !keys.iter().any(|key| config.other.contains_key(*key)) {
        config.other.insert("torch_dtype".into(), Value::Null);
    }
    for key in keys {
        if let Some(found) = config.other.get_mut(key) {
            *found = name.clone();
        }
    }
    described(config)
}

/// A tensor of a model, left on its device.
struct Handle {
    name: String,
    shape: Vec<usize>,
    read: Box<dyn Fn() -> TensorData>,
    /// Whether it is stored in 8 bits.
    int8: bool,
}

#[derive(Default)]
struct Handles {
    path: Vec<String>,
    int8: bool,
    found: Vec<Handle>,
}

impl ModuleVisitor for Handles {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let param = param.clone();
        let name = self.path.join(".");
        self.found.push(Handle {
            shape: param.lazy_shape().to_vec(),
            int8: self.int8 && int8::layer_of(&name).is_some(),
            name: with_prefix(&name),
            read: Box::new(move || param.val().to_data()),
        });
    }
}

fn write_weights(model: &Gpt2, path: &Path, options: &SaveOptions) -> Result<(), SaveError> {
    let mut handles = Handles {
        int8: options.weights.is_some(),
        ..Handles::default()
    };
    model.visit(&mut handles);
    let mut tensors = handles.found;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));

    let mut file = BufWriter::new(File::create(path).map_err(SaveError::io(path))?);
    let header = header(&tensors, options.dtype)?;
    let io = |result: io::Result<()>| result.map_err(SaveError::io(path));
    io(file.write_all(&(header.len() as u64).to_le_bytes()))?;
    io(file.write_all(&header))?;
    let mut non_finite = Vec::new();
    for tensor in &tensors {
        let values = values_of(tensor)?;
        if tensor.int8 {
            io(file.write_all(&in_int8(tensor, &values)?))?;
            continue;
        }
        if let Some(found) = options.dtype.first_overflow(&values) {
            return Err(SaveError::OutOfRange {
                tensor: tensor.name.clone(),
                found,
                dtype: options.dtype.name(),
            });
        }
        if !values.iter().all(|v| v.is_finite()) {
            non_finite.push(tensor.name.clone());
        }
        io(file.write_all(&options.dtype.to_bytes(&values)))?;
    }
    if !options.allow_non_finite && !non_finite.is_empty() {
        return Err(SaveError::NonFinite {
            tensors: non_finite,
        });
    }
    let file = file
        .into_inner()
        .map_err(|e| SaveError::io(path)(e.into_error()))?;
    io(file.sync_all())
}

/// The bytes of a matrix in 8 bits: its values, then its scales.
fn in_int8(tensor: &Handle, values: &[f32]) -> Result<Vec<u8>, SaveError> {
    let (Ok(shape), true) = (
        <[usize; 2]>::try_from(&tensor.shape[..]),
        values.iter().all(|v| v.is_finite()),
    ) else {
        return Err(SaveError::NotInt8 {
            tensor: tensor.name.clone(),
        });
    };
    let rounded = Int8Weight::rounded(values, shape);
    let mut bytes = rounded.weights.as_bytes().to_vec();
    bytes.extend(FloatType::F32.to_bytes(&rounded.steps));
    Ok(bytes)
}

/// The header of a safetensors file of these tensors, padded to a multiple of 8 bytes.
fn header(tensors: &[Handle], dtype: FloatType) -> Result<Vec<u8>, SaveError> {
    let mut end = 0;
    let mut infos = Vec::with_capacity(tensors.len());
    let mut add = |name: String, dtype: Dtype, shape: Vec<usize>| {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let info = TensorInfo {
            dtype,
            shape,
            data_offsets: (start, end),
        };
        infos.push((name, info));
    };
    for tensor in tensors {
        match tensor.name.strip_suffix(".weight") {
            Some(layer) if tensor.int8 => {
                let [numbers, steps] = int8::names(layer);
                let outputs = tensor.shape.last().copied().into_iter().collect();
                add(numbers, Dtype::I8, tensor.shape.clone());
                add(steps, Dtype::F32, outputs);
            }
            _ => add(tensor.name.clone(), dtype.dtype(), tensor.shape.clone()),
        }
    }
    let wrong = |message: String| SaveError::Tensor {
        tensor: "(header)".into(),
        message,
    };
    // `transformers` refuses the file without this.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos).map_err(|e| wrong(e.to_string()))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| wrong(e.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// Copies a file to its place in `folder`.
fn copy_into(file: &Companion, folder: &Path) -> Result<(), SaveError> {
    let inside = |part| matches!(part, Component::Normal(_));
    let name = Path::new(&file.name);
    if name.as_os_str().is_empty() || !name.components().all(inside) {
        let path = file.path.clone();
        return Err(SaveError::Output(FileError::NoName { path }));
    }
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(SaveError::io(parent))?;
    }
    let mut from = File::open(&file.path).map_err(SaveError::io(&file.path))?;
    let mut to = File::create(&path).map_err(SaveError::io(&path))?;
    io::copy(&mut from, &mut to)
        .and_then(|_| to.sync_all())
        .map_err(SaveError::io(&path))
}

fn values_of(tensor: &Handle) -> Result<Vec<f32>, SaveError> {
    let wrong = |message: String| SaveError::Tensor {
        tensor: tensor.name.clone(),
        message,
    };
    let values = (tensor.read)()
        .convert::<f32>()
        .try_into_vec::<f32>()
        .map_err(|e| wrong(format!("{e:?}")))?;
    if values.len() == tensor.shape.iter().product::<usize>() {
        Ok(values)
    } else {
        Err(wrong(format!(
            "has {} elements, expected shape {:?}",
            values.len(),
            tensor.shape
        )))
    }
}
