//! The contestants of the benchmark.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use bsbr_attention::ArmConfig;
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config, PositionExtension, ProductType};
use burn::module::Module;
use burn::tensor::{DType, Device};

use crate::arms;
use crate::bench::accuracy;
use crate::bench::decode::{self, Decoded, Decoding};
use crate::bench::derived::{GROWTH, SECONDS, WORK};
use crate::bench::first_token::{FirstToken, PROMPT};
use crate::bench::place::Place;
use crate::bench::{floor, machine, profile, training};
use crate::corpus::random;
use crate::error::ReportError;
use crate::experiments::memory::worker::{Cell, Pass, Worker};
use crate::peers::Peer;
use crate::record::Measurement;
use crate::rounds::{
    Contestant, Outcome, Rounds, Run, attention_run, gradients_run, model_run, random_input,
};
use crate::spec::ArmSpec;
use crate::torch::{Baseline, Kind};

/// PyTorch in bf16, when the others are in f32.
const TORCH_BF16: &str = "torch-sdpa, bf16";

/// Seed of ids.
pub(super) const SEED: u64 = 1;

/// Random texts for the bases of arms that need them; the bases have the same size as calibrated
/// ones.
const CALIBRATION: [u64; 2] = [100, 101];

/// Runs longer than these seconds have fewer timed rounds.
const SLOW_SECONDS: f64 = 20.0;
const SLOW_RUNS: u64 = 3;

/// The number of profiled tokens in place of one pass.
const TOKENS: u64 = 16;

/// The number of repeated positions in place of those that a model does not have.
const WINDOW: usize = 512;

/// The subject of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A forward pass to the logits of the last token, without a cache.
    Model,
    /// One layer's attention.
    Attention,
    /// The same, with the gradients of queries, keys and values.
    Gradients,
    /// The growth of a process's peak memory in a forward pass.
    Memory,
    /// Fresh processes, from start to the first token after a prompt.
    FirstToken,
    /// A token after contexts of several lengths, through a cache.
    Decode,
    /// The distance of the last token's logits from those of the CPU in `f32`.
    Accuracy,
    /// A training step of a small model.
    Training,
    /// The parts of a forward pass.
    Profile,
    /// The parts of a token after a context.
    TokenProfile,
}

impl Scope {
    /// Its name in records.
    pub fn id(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Attention => "attention",
            Self::Gradients => "gradients",
            Self::Memory => "memory",
            Self::FirstToken => "first-token",
            Self::Decode => "decode",
            Self::Accuracy => "accuracy",
            Self::Training => "training",
            Self::Profile => "profile",
            Self::TokenProfile => "token-profile",
        }
    }
}

/// The subjects and repetitions of a comparison.
pub struct Contest<'a> {
    /// The trained or random model, in `f32`.
    pub dense: Gpt2,
    /// Its device and type.
    pub place: Place,
    /// The CPU for reference logits, if any.
    pub processor: Option<Device>,
    /// Its arms.
    pub arms: Vec<ArmSpec>,
    /// The weights of linear layers, each in its own row: stored weights, or packed ones.
    pub weights: Vec<Option<ProductType>>,
    /// Whether PyTorch takes part.
    pub torch: bool,
    /// Other engines that take part in decoding.
    pub peers: Vec<Peer>,
    /// A Python with torch and transformers; else `python3`.
    pub python: Option<PathBuf>,
    /// Number of timed rounds.
    pub runs: u64,
    /// Processes that measure memory.
    pub memory: Worker,
    /// Processes that open a model.
    pub first_token: FirstToken,
    /// The arms and contexts of decoding.
    pub decoding: Decoding,
    /// Receives a message when a part begins.
    pub progress: &'a dyn Fn(&str),
    /// Processes of PyTorch and of the other engines, once they are started.
    pub engines: Engines,
    /// The model with packed weights, once it is made.
    pub packed: Packed,
}

/// Processes of PyTorch and of other engines, which are started on first use.
#[derive(Debug, Default)]
pub struct Engines(RefCell<BTreeMap<&'static str, Result<Rc<Baseline>, String>>>);

/// The model with its weights packed for each requested type of products. Arms share them.
#[derive(Debug, Default)]
pub struct Packed(RefCell<Vec<(ProductType, Gpt2)>>);

/// A contestant: an arm, and the type of its linear layers' weights.
struct Row<'a> {
    id: String,
    arm: &'a ArmSpec,
    weights: Option<ProductType>,
}

impl Contest<'_> {
    /// Measures one scope; `length` is ignored if the scope has its own.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the model cannot be converted or trained. A failed timing is a
    /// measurement with a reason.
    pub fn measure(&self, scope: Scope, length: usize) -> Result<Vec<Measurement>, ReportError> {
        if let Some(reason) = self.elsewhere(scope) {
            let new = |arm: &ArmSpec| Measurement::new(&arm.id, scope.id(), length, 0);
            let all = self.arms.iter().map(new);
            return Ok(all.map(|one| one.without_values(reason.clone())).collect());
        }
        match scope {
            Scope::Model | Scope::Attention | Scope::Gradients => self.timed(scope, length),
            Scope::Memory => Ok(self.memory(length)),
            Scope::FirstToken => self.first_token(),
            Scope::Decode => self.decode(),
            Scope::Accuracy => self.accuracy(length),
            Scope::Training => self.training(),
            Scope::Profile | Scope::TokenProfile => self.profile(scope, length),
        }
    }

    /// Where a scope can be measured, if not on this device.
    fn elsewhere(&self, scope: Scope) -> Option<String> {
        let on_processor = !self.place.is_accelerator();
        let in_single = self.place.dtype() == DType::F32;
        let (fits, place) = match scope {
            Scope::FirstToken => (on_processor, "on the processor alone"),
            Scope::Memory => (on_processor && in_single, "on the processor alone, in f32"),
            Scope::Training => (in_single, "in f32 alone"),
            _ => (true, ""),
        };
        (!fits).then(|| format!("measured {place}"))
    }

    /// Arms with each type of weights, all arms of one type before the next.
    fn rows<'a>(&self, arms: &'a [ArmSpec]) -> Vec<Row<'a>> {
        let of = |&weights: &Option<ProductType>| {
            arms.iter().map(move |arm| Row {
                id: match weights {
                    None => arm.id.clone(),
                    Some(products) => format!("{}, {}", arm.id, products.name()),
                },
                arm,
                weights,
            })
        };
        self.weights.iter().flat_map(of).collect()
    }

    /// A row's model, for any length.
    fn model(&self, row: &Row<'_>) -> Result<Gpt2, ReportError> {
        let model = cast_tensors(self.exact(row.arm)?, self.place.dtype());
        let Some(products) = row.weights else {
            return Ok(model);
        };
        let mut all = self.packed.0.borrow_mut();
        let known = all.iter().find(|(known, _)| *known == products);
        if let Some((_, packed)) = known {
            let model = model.with_packed_weights_of(packed);
            return Ok(model.with_packed_weights(products)?);
        }
        let model = model.with_packed_weights(products)?;
        all.push((products, model.clone()));
        Ok(model)
    }

    /// The same in `f32`.
    fn exact(&self, arm: &ArmSpec) -> Result<Gpt2, ReportError> {
        let vocabulary = self.dense.config().vocab_size;
        let texts = CALIBRATION.map(|index| random(SEED, index, vocabulary, 512));
        let model = arms::convert(&self.dense, &arm.config, &texts)?;
        Ok(model.with_position_extension(self.extension())?)
    }

    /// The embeddings of positions beyond the model's.
    fn extension(&self) -> PositionExtension {
        PositionExtension::RepeatLast {
            window: self.dense.config().n_positions.min(WINDOW),
        }
    }

    fn timed(&self, scope: Scope, length: usize) -> Result<Vec<Measurement>, ReportError> {
        let config = self.dense.config();
        let ids = random(SEED, 0, config.vocab_size, length);
        let dtype = self.place.dtype();
        let input = || random_input(&self.dense, length, dtype);
        let mut all = Vec::new();
        for row in self.rows(&self.arms) {
            let model = self.model(&row)?;
            let run = match scope {
                // It contains no linear layers.
                Scope::Attention | Scope::Gradients
                    if self.weights.first() != Some(&row.weights) =>
                {
                    continue;
                }
                Scope::Attention => Ok(attention_run(&model, input())),
                Scope::Gradients => Ok(gradients_run(model, input())),
                _ => model_run(model, &ids),
            };
            all.push(Contestant { id: row.id, run });
        }
        all.extend(self.torch_contestants(scope, length));
        let device = self.dense.device();
        all.extend(machine::contestants(config, &device, &self.place));
        let all = all.into_iter().map(|one| (length, one)).collect();
        let mut all = self.rounds(scope, all);
        for one in all
            .iter_mut()
            .filter(|one| one.values.contains_key(SECONDS))
        {
            let work = match (scope, one.arm.as_str()) {
                (_, machine::MATRIX | machine::TORCH_MATRIX) => {
                    machine::operations(config, &self.place)
                }
                (_, machine::COPY) => machine::bytes(),
                // All are compared by the operations of exact attention.
                (Scope::Attention, _) => {
                    floor::attention_operations(config, &ArmConfig::DENSE, length)
                }
                (Scope::Gradients, _) => floor::gradient_operations(config, length),
                _ => continue,
            };
            one.set(WORK, work);
        }
        Ok(all)
    }

    /// Rounds of contestants, each with its length.
    fn rounds<T: Outcome>(
        &self,
        scope: Scope,
        all: Vec<(usize, Contestant<'_, T>)>,
    ) -> Vec<Measurement> {
        let rounds = Rounds {
            runs: self.runs,
            slow_runs: SLOW_RUNS,
            slow_seconds: SLOW_SECONDS,
        };
        let (lengths, all): (Vec<usize>, Vec<_>) = all
            .into_iter()
            .map(|(length, one)| (length, self.announced(scope, length, one)))
            .unzip();
        let new = |place: usize, round| {
            Measurement::new(&all[place].id, scope.id(), lengths[place], round)
        };
        rounds.take_turns(&all, new).concat()
    }

    /// The same, with progress messages for its runs.
    fn announced<'b, T>(
        &'b self,
        scope: Scope,
        length: usize,
        one: Contestant<'b, T>,
    ) -> Contestant<'b, T>
    where
        T: 'b,
    {
        let text = format!("{}, {length} tokens: {}", scope.id(), one.id);
        let run = one.run.map(|run| -> Run<'b, T> {
            Box::new(move || {
                (self.progress)(&text);
                run()
            })
        });
        Contestant { id: one.id, run }
    }

    /// PyTorch's contestants of a scope, and its matrix product.
    fn torch_contestants<'b>(&self, scope: Scope, length: usize) -> Vec<Contestant<'b>> {
        if !self.torch {
            return Vec::new();
        }
        let baseline = self.shared_baseline();
        let run = |kind: Kind, scope: &'static str, number: usize| {
            baseline.clone().map(|baseline| -> Run<'b> {
                Box::new(move || baseline.measure(kind, scope, number))
            })
        };
        let mut all: Vec<Contestant<'b>> = Vec::new();
        for kind in Kind::ALL {
            all.push(Contestant {
                id: kind.id().to_owned(),
                run: run(kind, scope.id(), length),
            });
        }
        if scope == Scope::Model && self.torch_in_bf16() {
            let baseline = self.torch_bf16();
            all.push(Contestant {
                id: TORCH_BF16.to_owned(),
                run: baseline.map(|baseline| -> Run<'b> {
                    Box::new(move || baseline.measure(Kind::Sdpa, scope.id(), length))
                }),
            });
        }
        all.push(Contestant {
            id: machine::TORCH_MATRIX.to_owned(),
            run: run(Kind::Sdpa, "matrix", machine::rows(&self.place)),
        });
        all
    }

    fn baseline(&self, config: &Gpt2Config) -> Result<Baseline, String> {
        Baseline::start(self.python.as_deref(), config, &self.place)
    }

    /// The process for the model's own shape, shared by all lengths.
    fn shared_baseline(&self) -> Result<Rc<Baseline>, String> {
        self.engine(Kind::Sdpa.id(), || self.baseline(self.dense.config()))
    }

    /// Whether PyTorch is also timed in bf16.
    fn torch_in_bf16(&self) -> bool {
        let asked = self.weights.contains(&Some(ProductType::Bf16));
        self.torch && asked && self.place.dtype() == DType::F32
    }

    fn torch_bf16(&self) -> Result<Rc<Baseline>, String> {
        let place = Place {
            dtype: "bf16".to_owned(),
            ..self.place.clone()
        };
        self.engine(TORCH_BF16, || {
            Baseline::start(self.python.as_deref(), self.dense.config(), &place)
        })
    }

    /// An engine's process, shared by all its measurements.
    fn peer(&self, peer: Peer) -> Result<Rc<Baseline>, String> {
        let contexts = self.decoding.contexts.iter().copied();
        let longest = contexts.max().unwrap_or_default() + decode::GENERATED + 1;
        let config = self.dense.config();
        let positions = longest.max(config.n_positions);
        self.engine(peer.id(), || {
            peer.start(self.python.as_deref(), config, positions, &self.place)
        })
    }

    fn engine(
        &self,
        name: &'static str,
        start: impl FnOnce() -> Result<Baseline, String>,
    ) -> Result<Rc<Baseline>, String> {
        let mut all = self.engines.0.borrow_mut();
        all.entry(name)
            .or_insert_with(|| start().map(Rc::new))
            .clone()
    }

    /// Weight types of engines: f32, and those requested for our models.
    fn types(&self) -> Vec<ProductType> {
        let mut all = vec![ProductType::F32];
        let packed = self.weights.iter().flatten().copied();
        all.extend(packed.filter(|products| *products != ProductType::F32));
        all
    }

    fn accuracy(&self, length: usize) -> Result<Vec<Measurement>, ReportError> {
        let scope = Scope::Accuracy.id();
        let ids = random(SEED, 0, self.dense.config().vocab_size, length);
        let too_long = length > accuracy::LONGEST;
        let mut all = Vec::new();
        let mut add = |who: &str, error: Result<f64, String>| {
            let mut measured = Measurement::new(who, scope, length, 0);
            measured.put(accuracy::ERROR, error);
            all.push(measured);
        };
        for row in self.rows(&self.arms) {
            (self.progress)(&format!("accuracy, {length} tokens: {}", row.id));
            let error = match &self.processor {
                None => Err("no processor to compare with was compiled in".to_owned()),
                Some(_) if too_long => Err(too_long_to_check()),
                Some(processor) => {
                    let exact = self.exact(row.arm)?.to_device(processor);
                    let model = self.model(&row)?;
                    accuracy::logits(&exact, &ids).and_then(|reference| {
                        let found = accuracy::logits(&model, &ids)?;
                        Ok(accuracy::error(&found, &reference))
                    })
                }
            };
            add(&row.id, error);
        }
        if self.torch {
            let who = Kind::Sdpa.id();
            (self.progress)(&format!("accuracy, {length} tokens: {who}"));
            add(
                who,
                match too_long {
                    true => Err(too_long_to_check()),
                    false => self
                        .shared_baseline()
                        .and_then(|one| one.measure(Kind::Sdpa, scope, length)),
                },
            );
        }
        Ok(all)
    }

    fn memory(&self, length: usize) -> Vec<Measurement> {
        let scope = Scope::Memory.id();
        let mut all = Vec::new();
        // Processes for one value, which hardly varies; none after a failure.
        let mut add = |who: &str, measure: &dyn Fn() -> Result<f64, String>| {
            for index in 0..self.runs.min(3) {
                (self.progress)(&format!("memory, {length} tokens: {who}"));
                let mut measured = Measurement::new(who, scope, length, index);
                let growth = measure();
                let failed = growth.is_err();
                measured.put(GROWTH, growth);
                all.push(measured);
                if failed {
                    break;
                }
            }
        };
        for row in self.rows(&self.arms) {
            let mut worker = self.memory.clone();
            let packed = row.weights.map(|products| ["--weights", products.name()]);
            let packed = packed.into_iter().flatten().map(str::to_owned);
            worker.arguments.extend(packed);
            let cell = Cell {
                arm: row.arm.config.clone(),
                seed: SEED,
                length,
                extension: self.extension(),
                pass: Pass::Forward,
            };
            let growth = || worker.measure(&cell, None).map(|peak| peak.growth as f64);
            add(&row.id, &growth);
        }
        for kind in self.torch.then_some(Kind::ALL).into_iter().flatten() {
            add(kind.id(), &|| {
                let baseline = self.baseline(self.dense.config())?;
                baseline.measure(kind, scope, length)
            });
        }
        all
    }

    fn first_token(&self) -> Result<Vec<Measurement>, ReportError> {
        let python = self.torch.then(|| {
            let python = self.python.clone();
            python.unwrap_or_else(|| "python3".into())
        });
        let engines = self.peers.iter().flat_map(|&peer| {
            let baseline = self.peer(peer);
            let of = move |products| (peer.row(products), products, baseline.clone());
            self.types().into_iter().map(of)
        });
        let found = &self.first_token;
        let (mut all, contestants) =
            found.contestants(&self.dense, python.as_deref(), engines.collect())?;
        let contestants = contestants.into_iter().map(|one| (PROMPT, one));
        all.extend(self.rounds(Scope::FirstToken, contestants.collect()));
        Ok(all)
    }

    fn decode(&self) -> Result<Vec<Measurement>, ReportError> {
        let Decoding { arms, contexts } = &self.decoding;
        let vocabulary = self.dense.config().vocab_size;
        let ids = |length: usize| random(SEED, 0, vocabulary, length);
        let (mut all, mut long) = (Vec::new(), Vec::new());
        let mut add = |id: &str, run: &dyn Fn(usize) -> Result<Run<'static, Decoded>, String>| {
            all.extend(contexts.iter().map(|&context| {
                let one = Contestant {
                    id: id.to_owned(),
                    run: run(context),
                };
                (context, one)
            }));
        };
        for row in self.rows(arms) {
            let model = Rc::new(self.model(&row)?);
            add(&row.id, &|context| {
                decode::ours(model.clone(), ids(context))
            });
            // The cache of a text does not depend on the weights of linear layers.
            if self.weights.first() == Some(&row.weights) && !contexts.contains(&decode::LONGEST) {
                let longest = decode::LONGEST;
                (self.progress)(&format!("cache of {longest} tokens: {}", row.id));
                let mut measured = Measurement::new(&row.id, Scope::Decode.id(), longest, 0);
                decode::set_cache(&mut measured, &model, &ids(longest));
                long.push(measured);
            }
        }
        let torch = |baseline: Result<Rc<Baseline>, String>| {
            move |context| Ok(decode::torch(baseline.clone()?, context))
        };
        if self.torch {
            add(Kind::Sdpa.id(), &torch(self.shared_baseline()));
        }
        if self.torch_in_bf16() {
            add(TORCH_BF16, &torch(self.torch_bf16()));
        }
        for &peer in &self.peers {
            let baseline = self.peer(peer);
            for products in self.types() {
                add(&peer.row(products), &|context| {
                    Ok(decode::engine(baseline.clone()?, products, context))
                });
            }
        }
        let mut all = self.rounds(Scope::Decode, all);
        all.append(&mut long);
        Ok(all)
    }

    fn training(&self) -> Result<Vec<Measurement>, ReportError> {
        let config = training::config()?;
        let ours = training::contestant(&config, &self.place, &self.dense.device())?;
        let mut all = vec![(training::WINDOW, ours)];
        if self.torch {
            let baseline = self.baseline(&config);
            let run = baseline.map(|baseline| -> Run<'_> {
                Box::new(move || baseline.measure(Kind::Sdpa, "training", training::WINDOW))
            });
            let id = Kind::Sdpa.id().to_owned();
            all.push((training::WINDOW, Contestant { id, run }));
        }
        Ok(self.rounds(Scope::Training, all))
    }

    fn profile(&self, scope: Scope, length: usize) -> Result<Vec<Measurement>, ReportError> {
        let ids = random(SEED, 0, self.dense.config().vocab_size, length);
        let mut all = Vec::new();
        for row in self.rows(&self.arms) {
            (self.progress)(&format!("{}, {length} tokens: {}", scope.id(), row.id));
            let model = self.model(&row)?;
            let (run, runs) = match scope {
                Scope::TokenProfile => (decode::token_run(model, &ids), self.runs * TOKENS),
                _ => (model_run(model, &ids), self.runs),
            };
            all.extend(profile::measure(runs, run, |round| {
                Measurement::new(&row.id, scope.id(), length, round)
            }));
        }
        Ok(all)
    }
}

fn too_long_to_check() -> String {
    format!("not compared beyond {} tokens", accuracy::LONGEST)
}
