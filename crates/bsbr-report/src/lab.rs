//! The models and texts of a run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bsbr_attention::ArmConfig;
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, Gpt2Config, PackError, PositionExtension, ProductType};
use burn::tensor::Device;

use crate::arms;
use crate::corpus::{Corpus, Texts, model_files};
use crate::error::ReportError;
use crate::experiments::memory::worker::Worker;
use crate::hash;
use crate::host::On;
use crate::rarity::Rarity;
use crate::record::{ModelInfo, each_once};
use crate::spec::{ArmSpec, Spec};

/// Number of tokens for the calibration of compression bases.
pub const CALIBRATION_TOKENS: usize = 32_768;

/// Seed of the weights of a model of which only the shape matters.
const SHAPE_SEED: u64 = 0;

/// A dense model, its conversions on request, and the texts for measurements.
#[derive(Debug)]
pub struct Lab {
    /// The model's name.
    pub name: String,
    dense: Gpt2,
    hash: String,
    /// The backend and device, in the notation of the command line.
    pub(crate) device_name: String,
    corpus: Corpus,
    /// A Python with torch and transformers, for baselines.
    pub(crate) python: Option<PathBuf>,
    worker: Option<Worker>,
    models: Option<PathBuf>,
    /// The type of packed weights; `None` for stored weights.
    pub(crate) weights: Option<ProductType>,
    own: Option<Gpt2>,
    /// The models that are measured as they are, by the ids of their arms.
    pub(crate) given: Vec<(String, Gpt2)>,
    converted: RefCell<BTreeMap<String, Result<Gpt2, String>>>,
    rarities: RefCell<BTreeMap<(u64, usize, u8), Rarity>>,
}

impl Lab {
    /// A lab around an existing model; `hash` represents its weights.
    ///
    /// # Errors
    ///
    /// [`ReportError::Tokenizer`] if the texts may have tokens that the model does not know.
    pub fn new(
        name: &str,
        dense: Gpt2,
        hash: String,
        device_name: &str,
        corpus: Corpus,
    ) -> Result<Self, ReportError> {
        corpus.tokenizer().fits(dense.config().vocab_size)?;
        Ok(Self {
            name: name.to_owned(),
            dense,
            hash,
            device_name: device_name.to_owned(),
            corpus,
            python: None,
            worker: None,
            models: None,
            weights: None,
            own: None,
            given: Vec::new(),
            converted: RefCell::default(),
            rarities: RefCell::default(),
        })
    }

    /// Loads the dense form of a model folder to read `texts`.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the model, its tokenizer or a text cannot be read, or if the tokenizer
    /// does not fit the model.
    pub fn open(
        folder: &Path,
        device: &Device,
        device_name: &str,
        texts: &Texts,
    ) -> Result<Self, ReportError> {
        let tokenizer = TextTokenizer::from_folder(folder)?;
        let model = arms::load(folder, device)?;
        let dense = arms::dense_form(model.clone())?;
        let end = dense.config().end_of_text();
        let corpus = Corpus::open(tokenizer.or_end_of_text(end), texts)?;
        let hash = hash::of_files(&model_files(folder)?)?;
        let path = folder.canonicalize().unwrap_or_default();
        let name = path.file_name().unwrap_or("model".as_ref());
        let name = name.to_string_lossy();
        let has_arms = arms::of_layers(&model) != arms::of_layers(&dense);
        Ok(Self {
            own: has_arms.then_some(model),
            ..Self::new(&name, dense, hash, device_name, corpus)?
        })
    }

    /// Whether the folder has its own arms, in contrast to [`Self::dense`].
    pub fn has_arms(&self) -> bool {
        self.own.is_some()
    }

    /// Adds a model that is measured as it is: it represents the arm with this id, which is not
    /// converted from the dense model. `hash` represents its weights.
    ///
    /// # Errors
    ///
    /// [`ReportError::Unlike`] if its states or logits cannot be compared with the dense model's.
    pub fn with_given(mut self, id: &str, model: Gpt2, hash: &str) -> Result<Self, ReportError> {
        let (own, base) = (model.config(), self.dense.config());
        for (what, found, expected) in [
            ("vocabulary", own.vocab_size, base.vocab_size),
            ("hidden size", own.n_embd, base.n_embd),
        ] {
            if found != expected {
                return Err(ReportError::Unlike {
                    name: id.to_owned(),
                    what,
                    found: found.to_string(),
                    expected: expected.to_string(),
                });
            }
        }
        self.hash = hash::of_bytes(format!("{} {id} {hash}", self.hash).as_bytes());
        self.given.push((id.to_owned(), model));
        Ok(self)
    }

    /// The lab where another row replaces the default arm of each specification: `arm`, or else the
    /// model itself, if the folder has its own arms. It is compared with the dense form and with the
    /// other arms.
    ///
    /// # Errors
    ///
    /// [`ReportError::SeveralArms`] if its layers have different arms.
    pub fn replacing_default_arm(
        mut self,
        arm: Option<&ArmConfig>,
        specs: &mut [Spec],
    ) -> Result<Self, ReportError> {
        let own = self.own.take();
        if let Some(arm) = arm {
            replace_default(
                specs,
                &arm.to_string(),
                "The arm of this run.".to_owned(),
                arm,
            );
            return Ok(self);
        }
        let Some(own) = own else {
            return Ok(self);
        };
        let layers = arms::of_layers(&own);
        let first = layers.first().cloned().unwrap_or(ArmConfig::DENSE);
        if layers.iter().any(|arm| *arm != first) {
            return Err(ReportError::SeveralArms {
                name: self.name,
                arms: arms::by_layer(&layers),
            });
        }
        let about = format!("The model as stored in its folder: {first}.");
        for id in replace_default(specs, &self.name, about, &first) {
            self = self.with_given(&id, own.clone(), "the folder's own")?;
        }
        Ok(self)
    }

    /// The same with the weights of linear layers packed for products of a type, in every arm and
    /// in the reference model. Training is in f32.
    ///
    /// # Errors
    ///
    /// [`ReportError::Pack`] if the device or CPU does not support such products.
    pub fn with_weights(mut self, weights: Option<ProductType>) -> Result<Self, ReportError> {
        self.weights = weights;
        self.dense = self.packed(self.dense.clone())?;
        for (id, model) in std::mem::take(&mut self.given) {
            let model = self.packed(model)?;
            self.given.push((id, model));
        }
        self.converted = RefCell::default();
        Ok(self)
    }

    /// A model of this lab, such as a fine-tuned one, with its weights packed like the lab's.
    ///
    /// # Errors
    ///
    /// [`PackError`] if the device or CPU does not support such products.
    pub fn packed(&self, model: Gpt2) -> Result<Gpt2, PackError> {
        match self.weights {
            Some(products) => model.with_packed_weights(products),
            None => Ok(model),
        }
    }

    /// Sets a Python with torch and transformers, for baselines.
    #[must_use]
    pub fn with_python(mut self, python: Option<PathBuf>) -> Self {
        self.python = python;
        self
    }

    /// Sets the command of processes that measure this model's memory.
    #[must_use]
    pub fn with_worker(mut self, worker: Worker) -> Self {
        self.worker = Some(worker);
        self
    }

    /// The command of processes that measure this model's memory, if set.
    ///
    /// # Errors
    ///
    /// Why there is none, as text for a table.
    pub fn worker(&self) -> Result<&Worker, String> {
        if On::of(&self.device_name) != Some(On::Cpu) {
            return Err(format!(
                "the peak of a process counts only CPU memory, and the model is on {}",
                self.device_name
            ));
        }
        let worker = self.worker.as_ref();
        worker.ok_or_else(|| "there is no worker program for it".to_owned())
    }

    /// Sets the folder of fine-tuned models, and of the checkpoints of unfinished ones.
    #[must_use]
    pub fn with_models_in(mut self, folder: PathBuf) -> Self {
        self.models = Some(folder);
        self
    }

    /// The folder of fine-tuned models.
    ///
    /// # Errors
    ///
    /// [`ReportError::NoModelFolder`] if none is set.
    pub fn models_folder(&self) -> Result<&Path, ReportError> {
        self.models.as_deref().ok_or(ReportError::NoModelFolder)
    }

    /// A lab around random weights of a shape, with the tokenizer of a folder: for measurements
    /// that do not depend on learned weights.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the shape or the tokenizer is invalid.
    pub fn of_shape(
        name: &str,
        config: &Gpt2Config,
        tokenizer: &Path,
        device: &Device,
        device_name: &str,
    ) -> Result<Self, ReportError> {
        let dense = Gpt2::init(config, SHAPE_SEED, device)?;
        let hash = hash::of_bytes(&serde_json::to_vec(config)?);
        let corpus = Corpus::storybook(TextTokenizer::from_folder(tokenizer)?)?;
        Self::new(name, dense, hash, device_name, corpus)
    }

    /// The original model.
    pub fn dense(&self) -> &Gpt2 {
        &self.dense
    }

    /// Hash of the model's files.
    pub fn model_hash(&self) -> &str {
        &self.hash
    }

    /// The type of the model's weights.
    pub fn dtype(&self) -> String {
        format!("{:?}", self.dense.ln_f.weight.val().dtype()).to_lowercase()
    }

    /// The texts.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// The model's description for records.
    pub fn model_info(&self) -> ModelInfo {
        ModelInfo::of(self.name.clone(), &self.dense)
    }

    /// The model with an arm in every layer, converted on first request, or the given model of the arm.
    ///
    /// # Errors
    ///
    /// Why the arm is unavailable, as text for a table.
    pub fn model(&self, arm: &ArmSpec, seed: u64) -> Result<Gpt2, String> {
        if let Some((_, given)) = self.given.iter().find(|(id, _)| *id == arm.id) {
            return Ok(given.clone());
        }
        let key = format!("{seed} {:?}", arm.config);
        if let Some(found) = self.converted.borrow().get(&key) {
            return found.clone();
        }
        let made = self.convert(arm, seed).map_err(|error| error.to_string());
        self.converted.borrow_mut().insert(key, made.clone());
        made
    }

    /// Same as [`Self::model`], with positions beyond the model's embedded by `extension`.
    ///
    /// # Errors
    ///
    /// Why the arm is unavailable, as text for a table.
    pub fn model_for_any_length(
        &self,
        arm: &ArmSpec,
        seed: u64,
        extension: PositionExtension,
    ) -> Result<Gpt2, String> {
        self.model(arm, seed)?
            .with_position_extension(self.clamped_extension(extension))
            .map_err(|error| error.to_string())
    }

    /// An extension that fits this model: a specification may name a window longer than a small
    /// model's own positions.
    pub fn clamped_extension(&self, extension: PositionExtension) -> PositionExtension {
        match extension {
            PositionExtension::RepeatLast { window } => PositionExtension::RepeatLast {
                window: window.min(self.dense.config().n_positions),
            },
            other => other,
        }
    }

    fn convert(&self, arm: &ArmSpec, seed: u64) -> Result<Gpt2, ReportError> {
        let length = self.dense.config().n_positions.min(1024);
        let calibration = match arm.config.compression() {
            1 => Vec::new(),
            _ => self.corpus.training(seed, CALIBRATION_TOKENS, length)?,
        };
        arms::convert(&self.dense, &arm.config, &calibration)
    }

    /// The rarity of tokens in `tokens` tokens of training text.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the texts cannot be encoded.
    pub fn rarity(&self, seed: u64, tokens: usize, quantiles: u8) -> Result<Rarity, ReportError> {
        let key = (seed, tokens, quantiles);
        if let Some(found) = self.rarities.borrow().get(&key) {
            return Ok(found.clone());
        }
        let texts = self.corpus.training(seed, tokens, 1024)?;
        let rarity = Rarity::count(&texts, self.dense.config().vocab_size, quantiles);
        self.rarities.borrow_mut().insert(key, rarity.clone());
        Ok(rarity)
    }
}

/// Replaces the default arm of every specification, and returns its ids.
fn replace_default(
    specs: &mut [Spec],
    label: &str,
    about: String,
    config: &ArmConfig,
) -> Vec<String> {
    let arms = specs.iter_mut().flat_map(|spec| &mut spec.method.arms);
    let replaced = arms.filter(|arm| arm.default && !arm.swept).map(|arm| {
        label.clone_into(&mut arm.label);
        arm.about.clone_from(&about);
        arm.config = config.clone();
        arm.id.clone()
    });
    each_once(replaced)
}
