//! Memory of a forward pass without a cache, of reading a text before generation, and of a training
//! step: three experiments whose runs are processes of their own.

pub mod worker;

use crate::experiments::memory::worker::{Pass, Task};
use crate::experiments::prelude::*;
use crate::rounds::compare;

/// The measured part: the whole model, and the last token's logits.
const MODEL: &str = "model";

/// Work of starting a process and loading a model.
const START: f64 = 300.0;

/// Settings and counts.
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
    /// Processes per row, variant and length.
    pub processes: u64,
}

/// The variants of a pass, each with the end of the names of its quantities.
type Variants = Vec<(&'static str, Pass)>;

/// One of the experiments.
pub type Memory = Frame<Settings, Variants>;

/// A forward pass without a cache.
pub(super) fn of_a_pass(spec: Spec) -> Boxed {
    boxed(spec, |_| vec![("", Pass::Forward)])
}

/// Reading a text into a cache.
pub(super) fn of_reading(spec: Spec) -> Boxed {
    boxed(spec, |settings| {
        let piece = settings.piece.unwrap_or_default();
        vec![("", Pass::Reading { piece })]
    })
}

/// A training step that keeps activations, and one that recomputes blocks.
pub(super) fn of_training(spec: Spec) -> Boxed {
    let variants = [(".kept", false), (".recomputed", true)];
    boxed(spec, |_| {
        Vec::from(variants.map(|(way, recompute)| (way, Pass::Step { recompute })))
    })
}

fn boxed(spec: Spec, variants: impl Fn(&Settings) -> Variants) -> Boxed {
    let one = Frame::<Settings>::read(spec, &["lengths"], &[])?;
    let variants = variants(&one.settings);
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
                extension: lab.clamped_extension(self.settings.extension),
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
        let dense = self.dense().ok_or("there is no dense row");
        let torch = self.torch().first().map(|kind| kind.id());
        let torch = torch.ok_or("PyTorch was not measured; see --baseline");
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
    let (process, kind) = (Engine::torch(lab)?, Kind::Sdpa.word());
    one.set("growth", process.ask(kind, "reading", one.length)?);
    one.set("peak", process.ask(kind, "peak", 0)?);
    Ok(())
}

impl Experiment for Memory {
    fn units(&self, _lab: &Lab) -> Units {
        let rows = (self.subjects().len() * self.own.len()) as f64;
        let effort = match self.own.first() {
            Some((_, Pass::Reading { .. })) => 0.8,
            // Three forward passes of activations that are kept.
            Some((_, Pass::Step { .. })) => 1.8,
            _ => 0.3,
        };
        let processes = self.settings.processes;
        let unit = |&length: &usize| {
            let work = (START + effort * length as f64) * rows * processes as f64;
            Unit::new(MODEL, length, processes, work)
        };
        Ok(self.settings.lengths.iter().map(unit).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        Kind::subjects(self.arms(), self.torch())
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let length = unit.length;
        let arms = self.arms().iter();
        let arms = arms.map(|arm| Case::new(&arm.id, length, move |one| self.ours(lab, arm, one)));
        let kinds = self.torch().iter();
        let torch = kinds.map(|kind| Case::new(kind.id(), length, move |one| torch(lab, one)));
        let cases: Vec<Case<'_>> = arms.chain(torch).collect();
        let mut rounds = Rounds::plain(self.settings.processes).run(&cases, &unit.source);
        rounds.iter_mut().for_each(|round| self.compare(round));
        Ok(rounds.concat())
    }
}
