//! The cases of the benchmark.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bsbr_attention::ArmConfig;
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config, PositionExtension, ProductType};
use burn::module::Module;
use burn::tensor::{DType, Device};

use crate::arms;
use crate::bench::decode::{self, Decoding};
use crate::bench::derived::{GROWTH, WORK};
use crate::bench::first_token::{self, FirstToken};
use crate::bench::place::Place;
use crate::bench::{accuracy, floor, machine, profile, training};
use crate::corpus::random;
use crate::engines::{Engine, Kind, Peer, Process, Started};
use crate::error::ReportError;
use crate::experiments::memory::worker::{Pass, Task, Worker};
use crate::record::Measurement;
use crate::rounds::{
    Case, Rounds, SECONDS, Timing, attention_run, gradients_run, model_run, random_input,
};
use crate::spec::ArmSpec;

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
pub const TOKENS: u64 = 16;

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
    /// The quantity of a run, if it is one.
    fn quantity(self) -> &'static str {
        match self {
            Self::Memory => GROWTH,
            Self::Accuracy => accuracy::ERROR,
            _ => SECONDS,
        }
    }

    /// Its name in records.
    pub const fn id(self) -> &'static str {
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

/// The names of all in records.
pub(super) const SOURCES: [&str; 10] = [
    Scope::Model.id(),
    Scope::Attention.id(),
    Scope::Gradients.id(),
    Scope::Memory.id(),
    Scope::FirstToken.id(),
    Scope::Decode.id(),
    Scope::Accuracy.id(),
    Scope::Training.id(),
    Scope::Profile.id(),
    Scope::TokenProfile.id(),
];

/// The subjects and repetitions of a comparison.
pub struct Benchmark<'a> {
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
    /// Other engines that take part: PyTorch in every scope, the others in decoding and in the first
    /// token.
    pub baselines: Vec<Engine>,
    /// The Python that runs them; else `python3`.
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
    /// What all measurements share.
    pub shared: Shared,
}

/// What measurements share, made on first use.
#[derive(Debug, Default)]
pub struct Shared {
    /// Processes of engines, by their types of numbers.
    processes: RefCell<BTreeMap<(&'static str, String), Started>>,
    /// The model with its weights packed for each requested type of products.
    packed: RefCell<Vec<Gpt2>>,
}

/// A case: an arm, and the type of its linear layers' weights.
struct Variant<'a> {
    id: String,
    arm: &'a ArmSpec,
    weights: Option<ProductType>,
}

impl Benchmark<'_> {
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
        let all = match scope {
            Scope::FirstToken => self.first_token()?,
            Scope::Decode => self.decode()?,
            Scope::Training => self.training()?,
            _ => self.passes(scope, length)?,
        };
        let rounds = match scope {
            // Values that hardly vary.
            Scope::Memory => Rounds::plain(self.runs.min(3)),
            Scope::Accuracy => Rounds::plain(1),
            _ => Rounds {
                slow_runs: SLOW_RUNS,
                slow_seconds: SLOW_SECONDS,
                ..Rounds::timed(match scope {
                    Scope::TokenProfile => self.runs * TOKENS,
                    _ => self.runs,
                })
            },
        };
        let mut found = self.rounds(rounds, scope, all);
        if scope == Scope::Decode {
            found.extend(self.rounds(Rounds::plain(1), scope, self.long_caches()?));
        }
        Ok(found)
    }

    /// Rounds of cases, with progress messages for their runs.
    fn rounds<'b>(&'b self, rounds: Rounds, scope: Scope, all: Vec<Case<'b>>) -> Vec<Measurement> {
        let announced = |one: Case<'b>| {
            let text = format!("{}, {} tokens: {}", scope.id(), one.length, one.id);
            one.map(move |measured, run| {
                (self.progress)(&text);
                run(measured)
            })
        };
        let all: Vec<_> = all.into_iter().map(announced).collect();
        rounds.run(&all, scope.id()).concat()
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
    fn rows<'a>(&self, arms: &'a [ArmSpec]) -> Vec<Variant<'a>> {
        let of = |&weights: &Option<ProductType>| {
            arms.iter().map(move |arm| Variant {
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
    fn model(&self, row: &Variant<'_>) -> Result<Gpt2, ReportError> {
        let model = cast_tensors(self.exact(row.arm)?, self.place.dtype());
        let Some(products) = row.weights else {
            return Ok(model);
        };
        let mut before = self.shared.packed.borrow_mut();
        Ok(arms::packed(model, products, &mut before)?)
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

    /// Whether a row is an arm's first, for what does not depend on the weights of linear layers.
    fn is_first(&self, row: &Variant<'_>) -> bool {
        self.weights.first() == Some(&row.weights)
    }

    fn ids(&self, length: usize) -> Vec<u32> {
        random(SEED, 0, self.dense.config().vocab_size, length)
    }

    /// The cases of a pass: arms, PyTorch, and limits of the machine.
    fn passes(&self, scope: Scope, length: usize) -> Result<Vec<Case<'_>>, ReportError> {
        let config = &self.dense.config();
        let ids = self.ids(length);
        let input = || random_input(&self.dense, length, self.place.dtype());
        let mut all = Vec::new();
        for row in self.rows(&self.arms) {
            let id = row.id.clone();
            let run: Result<Timing<'_>, String> = match scope {
                Scope::Attention | Scope::Gradients if !self.is_first(&row) => continue,
                Scope::Memory => Ok(Box::new(move || self.growth(&row, length))),
                Scope::Accuracy => Ok(Box::new(move || self.error(&row, length))),
                Scope::Attention => Ok(attention_run(&self.model(&row)?, input())),
                Scope::Gradients => Ok(gradients_run(self.model(&row)?, input())),
                Scope::TokenProfile => decode::token_run(self.model(&row)?, &ids),
                _ => model_run(self.model(&row)?, &ids),
            };
            all.push(match scope {
                Scope::Profile | Scope::TokenProfile => profile::case(id, length, run),
                _ => Case::of(scope.quantity(), id, length, run),
            });
        }
        all.extend(self.torch(scope, length));
        match scope {
            Scope::Model => {}
            Scope::Attention | Scope::Gradients => {
                // All are compared by the operations of exact attention: two products forward,
                // and five backward, where the scores are recomputed.
                let passes = if scope == Scope::Gradients { 3.5 } else { 1.0 };
                let work = passes * floor::attention_operations(config, &ArmConfig::DENSE, length);
                all = all.into_iter().map(|one| one.with(WORK, work)).collect();
            }
            _ => return Ok(all),
        }
        let torch = self.torch_rows(scope).into_iter().next();
        let torch = torch.map(|(id, kind)| {
            let rows = machine::rows(&self.place);
            self.torch_peer(id, kind).timing("matrix", rows)
        });
        all.extend(machine::cases(length, &self.dense, &self.place, torch));
        Ok(all)
    }

    /// The growth of the memory of a process.
    fn growth(&self, row: &Variant<'_>, length: usize) -> Result<f64, String> {
        let mut worker = self.memory.clone();
        let packed = row.weights.map(|products| ["--weights", products.name()]);
        let packed = packed.into_iter().flatten().map(str::to_owned);
        worker.arguments.extend(packed);
        let task = Task {
            arm: row.arm.config.clone(),
            seed: SEED,
            length,
            extension: self.extension(),
            pass: Pass::Forward,
        };
        Ok(worker.measure(&task, None)?.growth as f64)
    }

    /// The distance of a row's logits from those of the CPU.
    fn error(&self, row: &Variant<'_>, length: usize) -> Result<f64, String> {
        accuracy::check(length)?;
        let processor = self.processor.as_ref();
        let processor = processor.ok_or("no processor to compare with was compiled in")?;
        let said = |error: ReportError| error.to_string();
        let exact = self.exact(row.arm).map_err(said)?.to_device(processor);
        accuracy::of(&self.model(row).map_err(said)?, &exact, &self.ids(length))
    }

    /// PyTorch's rows of a scope: their names in records, and their attention.
    fn torch_rows(&self, scope: Scope) -> Vec<(&'static str, Kind)> {
        let [sdpa, eager] = Kind::ALL.map(|kind| (kind.id(), kind));
        let asked = self.weights.contains(&Some(ProductType::Bf16));
        let bf16 = asked && self.place.dtype() == DType::F32;
        let bf16 = bf16.then_some((TORCH_BF16, Kind::Sdpa));
        match scope {
            _ if !self.baselines.contains(&Engine::Torch) => Vec::new(),
            Scope::FirstToken | Scope::Profile | Scope::TokenProfile => Vec::new(),
            Scope::Accuracy | Scope::Training => vec![sdpa],
            Scope::Decode => [sdpa].into_iter().chain(bf16).collect(),
            Scope::Model => [sdpa, eager].into_iter().chain(bf16).collect(),
            Scope::Attention | Scope::Gradients | Scope::Memory => vec![sdpa, eager],
        }
    }

    /// PyTorch's cases of a pass.
    fn torch(&self, scope: Scope, length: usize) -> Vec<Case<'_>> {
        let case = |(id, kind): (&'static str, Kind)| {
            let timing = || self.torch_peer(id, kind).timing(scope.id(), length);
            let run: Result<Timing<'_>, String> = match scope {
                // A fresh process, whose peak is that of the pass.
                Scope::Memory => Ok(Box::new(move || {
                    let process = self.start(Engine::Torch, &self.dense.config(), &self.place)?;
                    process.ask(kind.word(), scope.id(), length)
                })),
                Scope::Accuracy => accuracy::check(length).map(|()| timing()),
                _ => Ok(timing()),
            };
            Case::of(scope.quantity(), id, length, run)
        };
        self.torch_rows(scope).into_iter().map(case).collect()
    }

    fn start(&self, engine: Engine, config: &Gpt2Config, place: &Place) -> Result<Process, String> {
        let contexts = self.decoding.contexts.iter().copied();
        let longest = contexts.max().unwrap_or_default() + decode::GENERATED + 1;
        let positions = longest.max(config.n_positions);
        engine.start(self.python.as_deref(), config, positions, place)
    }

    /// An engine's process for the model's own shape, shared by all lengths.
    fn process(&self, engine: Engine, dtype: &str) -> Started {
        let mut all = self.shared.processes.borrow_mut();
        let made = all.entry((engine.id(), dtype.to_owned()));
        let made = made.or_insert_with(|| {
            let place = Place {
                dtype: dtype.to_owned(),
                ..self.place.clone()
            };
            let process = self.start(engine, &self.dense.config(), &place)?;
            Ok(Rc::new(process))
        });
        made.clone()
    }

    fn torch_peer(&self, id: &'static str, kind: Kind) -> Peer {
        let dtype = match id {
            TORCH_BF16 => "bf16",
            _ => self.place.dtype.as_str(),
        };
        Peer::torch(id, kind, self.process(Engine::Torch, dtype))
    }

    /// Engines other than PyTorch, with weights in f32 and in the types that are requested for our
    /// models.
    fn peers(&self) -> Vec<Peer> {
        let packed = self.weights.iter().flatten().copied();
        let packed = packed.filter(|products| *products != ProductType::F32);
        let types: Vec<ProductType> = std::iter::once(ProductType::F32).chain(packed).collect();
        let of = |&engine: &Engine| {
            let process = self.process(engine, &self.place.dtype);
            let peer = |of: &ProductType| Peer {
                id: engine.row(*of),
                kind: of.name(),
                process: process.clone(),
            };
            types.iter().map(peer).collect::<Vec<Peer>>()
        };
        let engines = self.baselines.iter();
        let engines = engines.filter(|engine| **engine != Engine::Torch);
        engines.flat_map(of).collect()
    }

    fn first_token(&self) -> Result<Vec<Case<'_>>, ReportError> {
        let python = self.python.as_deref().unwrap_or(Path::new("python3"));
        let torch = self.baselines.contains(&Engine::Torch);
        let python = torch.then_some(python);
        let mut all = self.first_token.cases(&self.dense, python)?;
        all.extend(self.peers().into_iter().map(first_token::engine));
        Ok(all)
    }

    fn decode(&self) -> Result<Vec<Case<'_>>, ReportError> {
        let Decoding { arms, contexts } = &self.decoding;
        let mut all = Vec::new();
        for row in self.rows(arms) {
            let model = Rc::new(self.model(&row)?);
            let ours = |&context| decode::ours(row.id.clone(), model.clone(), self.ids(context));
            all.extend(contexts.iter().map(ours));
        }
        let torch = self.torch_rows(Scope::Decode).into_iter();
        let torch = torch.map(|(id, kind)| self.torch_peer(id, kind));
        for peer in torch.chain(self.peers()) {
            let of = |&context| decode::engine(peer.clone(), context);
            all.extend(contexts.iter().map(of));
        }
        let copy = |&context| machine::copy(context, &self.dense.device(), &self.place);
        all.extend(contexts.iter().map(copy));
        Ok(all)
    }

    /// The caches of a text longer than the contexts of decoding.
    fn long_caches(&self) -> Result<Vec<Case<'_>>, ReportError> {
        let Decoding { arms, contexts } = &self.decoding;
        let rows = self.rows(arms).into_iter().filter(|row| self.is_first(row));
        let rows = rows.filter(|_| !contexts.contains(&decode::LONGEST));
        let cache = |row: Variant<'_>| {
            let ids = self.ids(decode::LONGEST);
            Ok(decode::cache(row.id.clone(), self.model(&row)?, ids))
        };
        rows.map(cache).collect()
    }

    fn training(&self) -> Result<Vec<Case<'_>>, ReportError> {
        let (config, length) = (training::config(), training::WINDOW);
        let ours = training::case(&config, &self.place, &self.dense.device())?;
        let torch = self.torch_rows(Scope::Training).into_iter();
        let torch = torch.map(|(id, kind)| {
            let process = self.start(Engine::Torch, &config, &self.place);
            let peer = Peer::torch(id, kind, process.map(Rc::new));
            Case::timed(id, length, Ok(peer.timing(Scope::Training.id(), length)))
        });
        Ok(std::iter::once(ours).chain(torch).collect())
    }
}
