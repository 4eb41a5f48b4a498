//! Loading of a folder as a model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bsbr_gpt2::{Gpt2, Gpt2Config};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorCreationOptions, TensorData};

use crate::checkpoint::Checkpoint;
use crate::error::LoadError;
use crate::folder::ModelFolder;
use crate::int8::{self, Int8Weights};
use crate::keys::{KeyReport, Weights, is_arm_name};
use crate::numbers::{FloatType, Range};

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The device of its weights.
    pub device: Device,
    /// The element type of the weights in memory; `None` for the smallest without loss of speed.
    /// Default: None
    ///
    /// On the CPU backend Flex, that is the stored type for matrices in half precision, which are
    /// multiplied directly by activations in f32, 8 bits for linear layers stored in 8 bits, and
    /// f32 for everything else. Other devices use their default type. A model for training should
    /// be in f32.
    pub dtype: Option<FloatType>,
    /// Whether weights that keep their stored element type stay in the mapped file instead of being
    /// copied. Default: true
    ///
    /// The file must then stay unchanged while the model lives. Replacing it by another file is
    /// harmless, writing into it changes the weights, and truncating it ends the process.
    pub in_place: bool,
    /// Whether weights may be NaN, infinite, or so large that their squares are infinite. Default:
    /// false
    pub allow_non_finite: bool,
    /// Whether unexpected tensors of blocks, embeddings or the output layer are ignored instead of
    /// refused. Tensors that are not part of a GPT-2, such as other heads, are always ignored.
    /// Default: false
    pub allow_unexpected: bool,
}

impl LoadOptions {
    /// The defaults, on `device`.
    pub fn on(device: &Device) -> Self {
        Self {
            device: device.clone(),
            dtype: None,
            in_place: true,
            allow_non_finite: false,
            allow_unexpected: false,
        }
    }
}

/// A model and its source.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model.
    pub model: Gpt2,
    /// Its configuration.
    pub config: Gpt2Config,
    /// The folder.
    pub folder: ModelFolder,
    /// The report of reading.
    pub report: LoadReport,
}

/// A summary of reading a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// The number of loaded tensors per stored element type.
    pub loaded: BTreeMap<String, usize>,
    /// Ignored masks of old versions of `transformers`.
    pub ignored: Vec<String>,
    /// Ignored tensors that the model does not have.
    pub unexpected: Vec<String>,
    /// Tensors that contain NaN or an infinity, if they were allowed.
    pub non_finite: Vec<String>,
    /// Tensors that contain finite numbers whose squares are infinite, if they were allowed.
    pub too_large: Vec<String>,
}

/// Loads the GPT-2, dense or converted, in `folder`.
///
/// Everything in the files' headers is checked before memory of the configuration's size is
/// allocated.
///
/// # Errors
///
/// [`LoadError`] names an error in the configuration, in a file, or in tensors. Tensors that are
/// missing, unexpected or of a wrong shape are reported together.
pub fn load_model(
    folder: impl AsRef<Path>,
    options: &LoadOptions,
) -> Result<LoadedModel, LoadError> {
    let folder = ModelFolder::open(folder.as_ref())?;
    let config = folder.config()?;
    let checkpoint = Checkpoint::open(&folder)?;
    let weights = Weights::new(&checkpoint)?;

    let is_int8 = int8::is_form_of(&folder, &config)?;

    let mut keys = weights.check_form(&config, is_int8);
    let mut unexpected = allow(&mut keys, options);
    let beside = || weights.beside().iter().map(|name| (*name).to_owned());
    match keys.missing.is_empty() {
        true => unexpected.extend(beside()),
        // They may be the missing tensors under other names.
        false => keys.unexpected.extend(beside()),
    }
    refuse(keys)?;
    weights.check_tied(&config)?;

    let config_path = folder.root().join("config.json");
    let model = Gpt2::zeros(&config, &options.device).map_err(|source| LoadError::Config {
        path: config_path,
        source,
    })?;
    let mut keys = KeyReport::compare(arm_tensors(&model).into_iter(), &weights, is_arm_name);
    if config.bsbr.is_some() {
        unexpected.extend(allow(&mut keys, options));
        refuse(keys)?;
    }

    let mut filler = Filler {
        weights: &weights,
        dtype: options.dtype,
        keeps_half: bsbr_kernels::fuses_mixed_matmul(&options.device),
        in_place: options.in_place,
        path: Vec::new(),
        int8: is_int8.then(Int8Weights::new),
        report: LoadReport {
            ignored: weights.ignored().iter().map(|s| (*s).into()).collect(),
            unexpected,
            ..LoadReport::default()
        },
        error: None,
    };
    let model = model.map(&mut filler);
    if let Some(error) = filler.error {
        return Err(error);
    }
    let report = filler.report;
    let int8 = filler.int8.filter(|_| {
        // Elsewhere, and if a type is requested, they become floating-point weights.
        options.dtype.is_none() && bsbr_kernels::fuses_mixed_matmul(&options.device)
    });
    if !options.allow_non_finite && !report.too_large.is_empty() {
        return Err(LoadError::TooLarge {
            tensors: report.too_large,
        });
    }
    if !options.allow_non_finite && !report.non_finite.is_empty() {
        return Err(LoadError::NonFinite {
            tensors: report.non_finite,
        });
    }
    let model = match int8 {
        None => model,
        Some(int8) => {
            let packed = model.with_int8_weights(|layer| int8.get(layer).cloned());
            packed.map_err(|source| LoadError::NotPacked {
                folder: folder.root().to_owned(),
                source,
            })?
        }
    };
    Ok(LoadedModel {
        model,
        config,
        folder,
        report,
    })
}

/// Removes from a report what the options allow.
fn allow(keys: &mut KeyReport, options: &LoadOptions) -> Vec<String> {
    if options.allow_unexpected {
        std::mem::take(&mut keys.unexpected)
    } else {
        Vec::new()
    }
}

fn refuse(keys: KeyReport) -> Result<(), LoadError> {
    if keys.is_clean() {
        Ok(())
    } else {
        Err(LoadError::Keys(Box::new(keys)))
    }
}

/// Names and shapes of the arms' own tensors.
fn arm_tensors(model: &Gpt2) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Shapes::default();
    model.visit(&mut shapes);
    shapes.found
}

#[derive(Default)]
struct Shapes {
    path: Vec<String>,
    found: Vec<(String, Vec<usize>)>,
}

impl ModuleVisitor for Shapes {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        if is_arm_name(&name) {
            self.found.push((name, param.lazy_shape().to_vec()));
        }
    }
}

/// Fills in a model's tensors. Names and shapes have been checked before.
struct Filler<'a> {
    weights: &'a Weights<'a>,
    dtype: Option<FloatType>,
    /// Whether the device multiplies weights in half precision directly.
    keeps_half: bool,
    in_place: bool,
    path: Vec<String>,
    /// The layers read in 8 bits; `None` if all weights are in floating point.
    int8: Option<Int8Weights>,
    report: LoadReport,
    error: Option<LoadError>,
}

impl Filler<'_> {
    /// The element type of a tensor in memory; `None` for the device's default.
    fn dtype(&self, stored: Option<FloatType>, shape: &[usize]) -> Option<FloatType> {
        let is_matrix = shape.len() == 2;
        let kept = stored.filter(|stored| stored.is_half() && is_matrix && self.keeps_half);
        self.dtype.or(kept)
    }

    /// The elements of a tensor, and their type in memory.
    fn values(&mut self, name: &str, shape: &[usize]) -> Result<Option<Values>, LoadError> {
        let Some(stored) = self.weights.get(name) else {
            return Ok(None);
        };
        let own = FloatType::of(stored.dtype());
        let dtype = self.dtype(own, shape);
        // Burn converts f32 to the type of the device.
        let as_stored = own.is_some() && own == dtype.or(Some(FloatType::F32));
        let (data, range) = stored.to_data(shape, as_stored, self.in_place)?;
        match range {
            Range::Usual => {}
            Range::TooLarge => self.report.too_large.push(name.to_owned()),
            Range::NonFinite => self.report.non_finite.push(name.to_owned()),
        }
        *self
            .report
            .loaded
            .entry(stored.dtype().to_string())
            .or_default() += 1;
        Ok(Some((data, dtype.map(FloatType::burn_dtype))))
    }

    /// A weight in 8 bits, which is converted to floating point only on first use.
    fn lazy<const D: usize>(
        &mut self,
        layer: &str,
        param: &Param<Tensor<D>>,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        let weight = Arc::new(int8::read(self.weights, layer, self.in_place)?);
        if let Some(all) = &mut self.int8 {
            all.insert(layer.to_owned(), weight.clone());
        }
        *self.report.loaded.entry("I8".to_owned()).or_default() += 1;
        let dtype = self.dtype.map(FloatType::burn_dtype);
        let shape = param.lazy_shape();
        let of = shape.clone();
        let init = move |device: &Device, require_grad: bool| {
            let data = TensorData::new(weight.widened(), of);
            Tensor::from_data(data, created(device, dtype)).set_require_grad(require_grad)
        };
        let device = param.lazy_device();
        Ok(Param::uninitialized(param.id, init, device, true, shape))
    }
}

type Values = (TensorData, Option<DType>);

/// A tensor on `device`, of this type or of the device's default.
fn created(device: &Device, dtype: Option<DType>) -> TensorCreationOptions {
    match dtype {
        Some(dtype) => TensorCreationOptions::from((device, dtype)),
        None => TensorCreationOptions::new(device.clone()),
    }
}

impl ModuleMapper for Filler<'_> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // After an error, the rest of the file is not read.
        if self.error.is_some() {
            return param;
        }
        let name = self.path.join(".");
        if let (Some(_), Some(layer)) = (&self.int8, int8::layer_of(&name)) {
            return self.lazy(layer, &param).unwrap_or_else(|error| {
                self.error = Some(error);
                param
            });
        }
        let (data, dtype) = match self.values(&name, &param.lazy_shape()) {
            Ok(None) => return param,
            Ok(Some(values)) => values,
            Err(error) => {
                self.error = Some(error);
                return param;
            }
        };
        let options = created(&param.lazy_device(), dtype);
        let id = param.id;
        // This avoids allocating the zeros.
        param.transform_for_load(Tensor::from_data(data, options), id)
    }
}
