//! Memory of a forward pass without a cache, of reading a text before generation, and of a training
//! step: three experiments whose runs are processes of their own.

pub mod step;
pub mod worker;

use bsbr_gpt2::PositionExtension;
use serde::Deserialize;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::frame::Frame;
use crate::experiments::memory::worker::{Pass, Task};
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::record::Measurement;
use crate::rounds::{Contestant, Rounds, compare};
use crate::spec::{ArmSpec, Spec, dense};
use crate::torch::{Baseline, Kind};

/// Version of the method.
pub const VERSION: u32 = 1;

/// The measured part: the whole model, and the last token's logits.
const MODEL: &str = "model";

/// Work of starting a process and loading a model.
const START: f64 = 300.0;

/// The text in place of PyTorch's results if it was not requested.
const NO_TORCH: &str = "PyTorch was not measured; see --baseline";

/// The text in place of a comparison with a row that is not there.
const NO_DENSE: &str = "there is no dense row";

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per text.
    pub lengths: Vec<usize>,
    /// Tokens read at once.
    #[serde(default)]
    pub piece: Option<usize>,
    /// The shortest length in fits of power laws.
    #[serde(default)]
    pub fit_from: usize,
    /// Baselines: `torch`.
    #[serde(default)]
    pub baselines: Vec<String>,
    /// The limit of our processes' address space in MiB; unlimited if absent.
    #[serde(default)]
    pub limit_mib: Option<u64>,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Processes per row, variant and length.
    pub processes: u64,
}

/// The variants of a pass, each with the end of the names of its quantities.
type Variants = Vec<(&'static str, Pass)>;

/// One of the experiments.
pub type Memory = Frame<Settings, Counts, Variants>;

/// A forward pass without a cache.
pub(super) fn of_a_pass(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    boxed(spec, |_| vec![("", Pass::Forward)])
}

/// Reading a text into a cache.
pub(super) fn of_reading(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    boxed(spec, |settings| {
        let piece = settings.piece.unwrap_or_default();
        vec![("", Pass::Reading { piece })]
    })
}

/// A training step that keeps activations, and one that recomputes blocks.
pub(super) fn of_training(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let variants = [(".kept", false), (".recomputed", true)];
    boxed(spec, |_| {
        Vec::from(variants.map(|(way, recompute)| (way, Pass::Step { recompute })))
    })
}

fn boxed(
    spec: Spec,
    variants: impl Fn(&Settings) -> Variants,
) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Frame::<Settings, Counts>::new(spec)?;
    let variants = variants(&one.settings);
    one.require_lengths("lengths", &one.settings.lengths)?;
    one.require_torch(&one.settings.baselines)?;
    let nothing = variants.contains(&("", Pass::Reading { piece: 0 }));
    let message = "`piece` needs a number of tokens above 0";
    one.require(!nothing, "settings", message)?;
    Ok(Box::new(one.with(variants)))
}

impl Memory {
    /// All processes of an arm in a round, one for each variant.
    fn ours(&self, lab: &Lab, arm: &ArmSpec, one: &mut Measurement) -> Result<(), String> {
        for &(way, pass) in &self.own {
            let task = Task {
                arm: arm.config.clone(),
                seed: self.seed().wrapping_add(one.index),
                length: one.length,
                extension: lab.fitting(self.settings.extension),
                pass,
            };
            let worker = lab.worker();
            match worker.and_then(|worker| worker.measure(&task, self.settings.limit_mib)) {
                Ok(found) => {
                    one.set(format!("peak{way}"), found.peak as f64);
                    one.set(format!("growth{way}"), found.growth as f64);
                    if let Pass::Step { .. } = pass {
                        one.set(format!("seconds{way}"), found.seconds);
                    }
                }
                Err(reason) if way.is_empty() => return Err(reason),
                Err(reason) => ["peak", "growth", "seconds"]
                    .into_iter()
                    .for_each(|name| one.without(format!("{name}{way}"), reason.clone())),
            }
        }
        Ok(())
    }

    /// Ratios of a round.
    fn compare(&self, round: &mut [Measurement]) {
        let dense = dense(self.arms());
        let dense = dense.map(|arm| arm.id.as_str()).ok_or(NO_DENSE);
        let torch = self.torch().first();
        let torch = torch.map(|kind| kind.id()).ok_or(NO_TORCH);
        let mut set = |quantity, reference, name| {
            compare(round, reference, quantity, name, |own, other| own / other);
        };
        match self.own.first() {
            Some((_, Pass::Forward)) => set("growth", dense, "share"),
            Some((_, Pass::Reading { .. })) => {
                set("peak", dense, "peak.by_dense");
                set("growth", dense, "growth.by_dense");
                set("peak", torch, "peak.by_torch");
                set("growth", torch, "growth.by_torch");
            }
            _ => {}
        }
    }

    fn torch(&self) -> &'static [Kind] {
        Kind::of(&self.settings.baselines, &[Kind::Sdpa])
    }
}

/// Peak and growth of a process of PyTorch's.
fn torch(lab: &Lab, one: &mut Measurement) -> Result<(), String> {
    // The memory of a process is CPU memory.
    lab.worker()?;
    let baseline = Baseline::of(lab)?;
    one.set(
        "growth",
        baseline.measure(Kind::Sdpa, "reading", one.length)?,
    );
    one.set("peak", baseline.measure(Kind::Sdpa, "peak", 0)?);
    Ok(())
}

impl Experiment for Memory {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let rows = (self.subjects().len() * self.own.len()) as f64;
        let effort = match self.own.first() {
            Some((_, Pass::Reading { .. })) => 0.8,
            // Three forward passes of activations that are kept.
            Some((_, Pass::Step { .. })) => 1.8,
            _ => 0.3,
        };
        let unit = |&length: &usize| Unit {
            source: MODEL.to_owned(),
            length,
            samples: 0..self.counts.processes,
            arm: None,
            work: (START + effort * length as f64) * rows * self.counts.processes as f64,
        };
        Ok(self.settings.lengths.iter().map(unit).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        Kind::subjects(self.arms(), self.torch())
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let arms = self
            .arms()
            .iter()
            .map(|arm| Contestant::new(&arm.id, unit.length, move |one| self.ours(lab, arm, one)));
        let torch = self
            .torch()
            .iter()
            .map(|kind| Contestant::new(kind.id(), unit.length, move |one| torch(lab, one)));
        let contestants: Vec<Contestant<'_>> = arms.chain(torch).collect();
        let mut rounds = Rounds::plain(self.counts.processes).run(&contestants, &unit.source);
        rounds.iter_mut().for_each(|round| self.compare(round));
        Ok(rounds.concat())
    }
}
