//! Who is timed beside whom.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::rc::Rc;

use bsbr_attention::ArmConfig;
use bsbr_gpt2::parameters::cast_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config, PositionExtension};
use burn::module::Module;
use burn::tensor::{DType, Device};

use crate::arms;
use crate::bench::accuracy::{self, RELATIVE};
use crate::bench::decode::{self, Decoding, Player};
use crate::bench::first_token::FirstToken;
use crate::bench::place::Place;
use crate::bench::record::{BYTES, Series, from_rounds};
use crate::bench::{floor, machine, training};
use crate::corpus::random;
use crate::error::ReportError;
use crate::experiments::memory::worker::{Cell, Pass, Worker};
use crate::record::Measurement;
use crate::rounds::{
    Contestant, Rounds, Run, attention_run, gradients_run, model_run, random_input,
};
use crate::spec::ArmSpec;
use crate::torch::{Baseline, Kind};

/// Seed of ids.
const SEED: u64 = 1;

/// Texts without meaning that bases are made of where an arm needs them: their size is the same.
const CALIBRATION: [u64; 2] = [100, 101];

/// Of what takes longer than these seconds, fewer rounds are timed.
pub(super) const SLOW_SECONDS: f64 = 20.0;
pub(super) const SLOW_RUNS: u64 = 3;

/// Positions that stand in for those that a model does not have.
pub(super) const WINDOW: usize = 512;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A forward pass to the logits of the last token, without a cache.
    Model,
    /// One layer's attention.
    Attention,
    /// The same, and the gradients of queries, keys and values.
    Gradients,
    /// The growth of a process's peak in a forward pass.
    Memory,
    /// Fresh processes, from their start to the first token after a prompt.
    FirstToken,
    /// A token after contexts of several lengths, through a cache.
    Decode,
    /// How far the last token's logits are from those that the processor computes in `f32`.
    Accuracy,
    /// A training step of a small model.
    Training,
    /// The parts of a forward pass.
    Profile,
}

impl Scope {
    /// What records call it.
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
        }
    }
}

/// What is compared, and how often.
pub struct Contest<'a> {
    /// The model, as it was trained or drawn, in `f32`.
    pub dense: Gpt2,
    /// Where it is, and what it is computed in.
    pub place: Place,
    /// What its logits are compared with those of, if there is one: a processor.
    pub processor: Option<Device>,
    /// Its arms.
    pub arms: Vec<ArmSpec>,
    /// Whether PyTorch takes part.
    pub torch: bool,
    /// A Python with torch and transformers; else `python3`.
    pub python: Option<PathBuf>,
    /// Timed rounds.
    pub runs: u64,
    /// Processes that measure memory.
    pub memory: Worker,
    /// Processes that open a model.
    pub first_token: FirstToken,
    /// Who generates, after what.
    pub decoding: Decoding,
    /// Told of what begins.
    pub progress: &'a dyn Fn(&str),
    /// PyTorch's process, once there is one.
    pub timer: Timer,
}

/// A process of PyTorch's that is started when it is first needed.
#[derive(Debug, Default)]
pub struct Timer(OnceCell<Result<Rc<Baseline>, String>>);

impl Contest<'_> {
    /// Measures one thing; `length` is ignored where a scope has its own.
    ///
    /// # Errors
    ///
    /// [`ReportError`] where the model cannot be converted or trained. What cannot be timed is a
    /// series that says why.
    pub fn measure(&self, scope: Scope, length: usize) -> Result<Vec<Series>, ReportError> {
        if let Some(reason) = self.elsewhere(scope) {
            let whose = self.arms.iter().map(|arm| &arm.id);
            return Ok(whose
                .map(|id| Series {
                    missing: Some(reason.clone()),
                    ..Series::new(scope.id(), id, length, BYTES)
                })
                .collect());
        }
        match scope {
            Scope::Model | Scope::Attention | Scope::Gradients => self.timed(scope, length),
            Scope::Memory => Ok(self.memory(length)),
            Scope::FirstToken => self.first_token(),
            Scope::Decode => self.decode(),
            Scope::Accuracy => self.accuracy(length),
            Scope::Training => self.training(),
            Scope::Profile => self.profile(length),
        }
    }

    /// Where alone a scope is measured, if that is not here.
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

    /// An arm of the model, for any length.
    fn model(&self, arm: &ArmSpec) -> Result<Gpt2, ReportError> {
        Ok(cast_tensors(self.exact(arm)?, self.place.dtype()))
    }

    /// The same in `f32`.
    fn exact(&self, arm: &ArmSpec) -> Result<Gpt2, ReportError> {
        let vocabulary = self.dense.config().vocab_size;
        let texts = CALIBRATION.map(|index| random(SEED, index, vocabulary, 512));
        let model = arms::convert(&self.dense, &arm.config, &texts)?;
        Ok(model.with_position_extension(self.extension())?)
    }

    /// What stands in for positions that the model does not have.
    fn extension(&self) -> PositionExtension {
        PositionExtension::RepeatLast {
            window: self.dense.config().n_positions.min(WINDOW),
        }
    }

    fn timed(&self, scope: Scope, length: usize) -> Result<Vec<Series>, ReportError> {
        let config = self.dense.config();
        let ids = random(SEED, 0, config.vocab_size, length);
        let dtype = self.place.dtype();
        let input = || random_input(&self.dense, length, dtype);
        let mut all = Vec::new();
        for arm in &self.arms {
            let model = self.model(arm)?;
            let run = match scope {
                Scope::Attention => Ok(attention_run(&model, input())),
                Scope::Gradients => Ok(gradients_run(model, input())),
                _ => model_run(model, &ids),
            };
            all.push(Contestant {
                id: arm.id.clone(),
                run,
            });
        }
        all.extend(self.torch_contestants(scope, length));
        let device = self.dense.device();
        all.extend(machine::contestants(config, &device, &self.place));
        let mut series = self.rounds(scope, length, all);
        for one in &mut series {
            one.work = match (scope, one.who.as_str()) {
                (_, machine::MATRIX | machine::TORCH_MATRIX) => {
                    Some(machine::operations(config, &self.place))
                }
                (_, machine::COPY) => Some(machine::bytes()),
                // Everybody is measured by what exact attention takes.
                (Scope::Attention, _) => Some(floor::attention_operations(
                    config,
                    &ArmConfig::DENSE,
                    length,
                )),
                (Scope::Gradients, _) => Some(floor::gradient_operations(config, length)),
                _ => None,
            };
        }
        Ok(series)
    }

    fn rounds(&self, scope: Scope, length: usize, all: Vec<Contestant<'_>>) -> Vec<Series> {
        let rounds = Rounds {
            runs: self.runs,
            slow_runs: SLOW_RUNS,
            slow_seconds: SLOW_SECONDS,
        };
        let all: Vec<_> = all
            .into_iter()
            .map(|one| self.announced(scope, length, one))
            .collect();
        from_rounds(&rounds.run(&all, None, |who, round| {
            Measurement::new(who, scope.id(), length, round)
        }))
    }

    /// The same, its runs told of.
    fn announced<'b>(&'b self, scope: Scope, length: usize, one: Contestant<'b>) -> Contestant<'b> {
        let text = format!("{}, {length} tokens: {}", scope.id(), one.id);
        let run = one.run.map(|run| -> Run<'b> {
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
        all.push(Contestant {
            id: machine::TORCH_MATRIX.to_owned(),
            run: run(Kind::Sdpa, "matrix", machine::rows(&self.place)),
        });
        all
    }

    fn baseline(&self, config: &Gpt2Config) -> Result<Baseline, String> {
        Baseline::start(self.python.as_deref(), config, &self.place)
    }

    /// The process that times the model's own shape: one for all lengths.
    fn shared_baseline(&self) -> Result<Rc<Baseline>, String> {
        let start = || self.baseline(self.dense.config()).map(Rc::new);
        self.timer.0.get_or_init(start).clone()
    }

    fn accuracy(&self, length: usize) -> Result<Vec<Series>, ReportError> {
        let scope = Scope::Accuracy.id();
        let ids = random(SEED, 0, self.dense.config().vocab_size, length);
        let mut all = Vec::new();
        for arm in &self.arms {
            (self.progress)(&format!("accuracy, {length} tokens: {}", arm.id));
            let mut series = Series::new(scope, &arm.id, length, RELATIVE);
            series.push(match &self.processor {
                None => Err("no processor to compare with was compiled in".to_owned()),
                Some(_) if length > accuracy::LONGEST => Err(too_long_to_check()),
                Some(processor) => {
                    let exact = self.exact(arm)?.to_device(processor);
                    let model = self.model(arm)?;
                    accuracy::logits(&exact, &ids).and_then(|reference| {
                        let found = accuracy::logits(&model, &ids)?;
                        Ok(accuracy::error(&found, &reference))
                    })
                }
            });
            all.push(series);
        }
        if self.torch {
            let who = Kind::Sdpa.id();
            (self.progress)(&format!("accuracy, {length} tokens: {who}"));
            let mut series = Series::new(scope, who, length, RELATIVE);
            series.push(match length > accuracy::LONGEST {
                true => Err(too_long_to_check()),
                false => self
                    .shared_baseline()
                    .and_then(|one| one.measure(Kind::Sdpa, scope, length)),
            });
            all.push(series);
        }
        Ok(all)
    }

    fn memory(&self, length: usize) -> Vec<Series> {
        let mut all = Vec::new();
        for arm in &self.arms {
            let mut series = Series::new(Scope::Memory.id(), &arm.id, length, BYTES);
            let cell = Cell {
                arm: arm.config.clone(),
                seed: SEED,
                length,
                extension: self.extension(),
                pass: Pass::Forward,
            };
            for _ in 0..self.processes() {
                (self.progress)(&format!("memory, {length} tokens: {}", arm.id));
                let peak = self.memory.measure(&cell, None);
                series.push(peak.map(|peak| peak.growth as f64));
            }
            all.push(series);
        }
        for kind in self.torch.then_some(Kind::ALL).into_iter().flatten() {
            let mut series = Series::new(Scope::Memory.id(), kind.id(), length, BYTES);
            for _ in 0..self.processes() {
                (self.progress)(&format!("memory, {length} tokens: {}", kind.id()));
                let baseline = self.baseline(self.dense.config());
                series.push(baseline.and_then(|one| one.measure(kind, Scope::Memory.id(), length)));
            }
            all.push(series);
        }
        all
    }

    /// Processes for one number of memory, which hardly varies.
    fn processes(&self) -> u64 {
        self.runs.min(3)
    }

    fn first_token(&self) -> Result<Vec<Series>, ReportError> {
        let python = self.torch.then(|| {
            let python = self.python.clone();
            python.unwrap_or_else(|| "python3".into())
        });
        self.first_token
            .measure(&self.dense, python.as_deref(), self.runs, self.progress)
    }

    fn decode(&self) -> Result<Vec<Series>, ReportError> {
        let Decoding { arms, contexts } = &self.decoding;
        let vocabulary = self.dense.config().vocab_size;
        let ids = |length: usize| random(SEED, 0, vocabulary, length);
        let (mut players, mut long) = (Vec::new(), Vec::new());
        for arm in arms {
            let model = Rc::new(self.model(arm)?);
            players.extend(contexts.iter().map(|&context| Player {
                who: arm.id.clone(),
                context,
                run: decode::ours(model.clone(), ids(context)),
            }));
            if !contexts.contains(&decode::LONGEST) {
                (self.progress)(&format!("cache of {} tokens: {}", decode::LONGEST, arm.id));
                long.push(decode::long_cache(&arm.id, &model, &ids(decode::LONGEST)));
            }
        }
        if self.torch {
            let baseline = self.shared_baseline();
            players.extend(contexts.iter().map(|&context| Player {
                who: Kind::Sdpa.id().to_owned(),
                context,
                run: decode::torch(baseline.clone(), context),
            }));
        }
        let mut all = decode::rounds(&players, self.runs, self.progress);
        all.append(&mut long);
        Ok(all)
    }

    fn training(&self) -> Result<Vec<Series>, ReportError> {
        let config = training::config()?;
        let ours = training::contestant(&config, &self.place, &self.dense.device())?;
        let mut all = vec![ours];
        if self.torch {
            let baseline = self.baseline(&config);
            let run = baseline.map(|baseline| -> Run<'_> {
                Box::new(move || baseline.measure(Kind::Sdpa, "training", training::WINDOW))
            });
            all.push(Contestant {
                id: Kind::Sdpa.id().to_owned(),
                run,
            });
        }
        Ok(self.rounds(Scope::Training, training::WINDOW, all))
    }

    fn profile(&self, length: usize) -> Result<Vec<Series>, ReportError> {
        let ids = random(SEED, 0, self.dense.config().vocab_size, length);
        let mut all = Vec::new();
        for arm in &self.arms {
            (self.progress)(&format!("profile, {length} tokens: {}", arm.id));
            let run = model_run(self.model(arm)?, &ids);
            all.extend(super::profile::series(&arm.id, length, self.runs, run));
        }
        Ok(all)
    }
}

fn too_long_to_check() -> String {
    format!("not compared beyond {} tokens", accuracy::LONGEST)
}
