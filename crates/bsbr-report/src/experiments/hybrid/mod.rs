//! Dense attention up to a measured length and an arm beyond it: gain and loss.

mod shown;

use bsbr_convert::Hybrid;
use bsbr_gpt2::{Gpt2, PositionExtension};
use serde::Deserialize;

use crate::compare;
use crate::corpus::random;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::beside::{Reference, set_closeness};
use crate::experiments::common::{in_turns, models};
use crate::experiments::frame::Frame;
use crate::growth::Crossover;
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::record::{Measurement, Pool, Records};
use crate::rounds::{Contestant, Rounds, model_run};
use crate::section::{Block, Verdict};
use crate::spec::{ArmSpec, Spec, dense};

/// Version of the method.
pub const VERSION: u32 = 1;

/// The rounds that determine the crossover: only dense and arm.
pub(super) const CROSSOVER: &str = "rounds for the crossover";

/// The rounds after the choice, including the hybrid.
pub(super) const CHOSEN: &str = "rounds with the hybrid";

/// The hybrid's name in records.
const HYBRID: &str = "hybrid";

/// Whether the hybrid uses dense attention: 1 or 0.
const DENSE: &str = "dense";

/// The hybrid's time as a multiple of that of its chosen form.
const BESIDE_FORM: &str = "beside_form";

/// Texts per unit.
const PER_UNIT: u64 = 1;

/// Work per timed token.
const EFFORT: f64 = 0.36;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per sequence.
    pub lengths: Vec<usize>,
    /// Runs longer than these seconds are timed only [`Counts::slow_runs`] times.
    pub slow_seconds: f64,
    /// The accepted slowdown of the hybrid relative to its chosen form.
    pub tolerance: f64,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Timed runs per length, once for the crossover and once after the choice.
    pub runs: u64,
    /// The same for slow runs.
    pub slow_runs: u64,
    /// Texts per length, from the domains in turn.
    pub texts: u64,
}

/// The experiment, with dense, the arm, and the hybrid of both.
///
/// Its first units time dense and arm at every length. The hybrid of the following units switches
/// where the arm becomes faster.
pub type ByLength = Frame<Settings, Counts, [ArmSpec; 3]>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Frame::<Settings, Counts>::new(spec)?;
    one.require_lengths("lengths", &one.settings.lengths)?;
    let sound = one.counts.runs > 0 && one.counts.slow_runs > 0;
    one.require(sound, "counts", "`runs` and `slow_runs` must be above 0")?;
    let [dense, arm] = one.arms() else {
        return Err(one.refused("`arms` must be the dense arm and one other"));
    };
    if !dense.is_dense() || arm.is_dense() {
        return Err(one.refused("`arms` must be the dense arm and one other"));
    }
    let rows = [
        dense.clone(),
        ArmSpec {
            default: false,
            ..arm.clone()
        },
        ArmSpec {
            id: HYBRID.to_owned(),
            label: HYBRID.to_owned(),
            about: "Dense attention up to the crossover, and the arm beyond it.".to_owned(),
            default: true,
            ..arm.clone()
        },
    ];
    Ok(Box::new(one.with(rows)))
}

impl ByLength {
    fn view<'a>(&'a self, records: &'a Records) -> shown::View<'a> {
        shown::View {
            experiment: self,
            records,
        }
    }

    fn arm(&self) -> &ArmSpec {
        &self.own[1]
    }

    /// The length from which on the arm is faster; `None` if both were not timed at any length.
    fn crossover(&self, records: &Records) -> Option<Crossover> {
        let levels = |row: &ArmSpec| records.levels(&row.id, Pool::Source(CROSSOVER), "seconds");
        Crossover::of(&levels(&self.own[1]), &levels(&self.own[0]))
    }

    /// The hybrid according to the timed rounds.
    fn hybrid(&self, lab: &Lab, earlier: &Records) -> Result<Hybrid, String> {
        let longest_dense = match self.crossover(earlier) {
            Some(Crossover::Always) => 0,
            Some(Crossover::At(length, _)) => length.round() as usize,
            Some(Crossover::Never) => usize::MAX,
            None => return Err("dense and the arm were never timed together".to_owned()),
        };
        let seed = self.spec.method.seed;
        let converted = lab.model_for_any_length(self.arm(), seed, self.settings.extension)?;
        Hybrid::new(converted, longest_dense).map_err(|error| error.to_string())
    }

    /// Rounds of the available models, at one length.
    fn time(&self, unit: &Unit, models: &[Result<Gpt2, String>], lab: &Lab) -> Vec<Measurement> {
        let seed = self.spec.method.seed;
        let ids = random(seed, 0, lab.dense().config().vocab_size, unit.length);
        let contestants: Vec<Contestant<'_>> = self
            .own
            .iter()
            .zip(models)
            .map(|(row, model)| {
                let run = model.clone().and_then(|model| model_run(model, &ids));
                Contestant::timed(&row.id, unit.length, run)
            })
            .collect();
        let rounds = Rounds {
            slow_runs: self.counts.slow_runs,
            slow_seconds: self.settings.slow_seconds,
            ..Rounds::timed(self.counts.runs)
        };
        let base = dense(&self.own).map(|arm| arm.id.as_str());
        rounds.speedups(&contestants, &unit.source, base)
    }
}

/// Sets [`BESIDE_FORM`] for each hybrid, from the time of `form` in the same round.
fn beside_form(measurements: &mut [Measurement], form: &str) {
    let seconds = |one: &Measurement| one.values.get("seconds").copied();
    let others: Vec<(u64, f64)> = measurements
        .iter()
        .filter(|one| one.arm == form)
        .filter_map(|one| Some((one.index, seconds(one)?)))
        .collect();
    for one in measurements.iter_mut().filter(|one| one.arm == HYBRID) {
        let same = others.iter().find(|(round, _)| *round == one.index);
        if let (Some(own), Some((_, other))) = (seconds(one), same) {
            one.set(BESIDE_FORM, own / other);
        }
    }
}

impl Experiment for ByLength {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (lengths, counts) = (&self.settings.lengths, &self.counts);
        let mut units = Vec::new();
        for (source, models) in [(CROSSOVER, 2), (CHOSEN, 3)] {
            units.extend(lengths.iter().map(|&length| {
                let work = EFFORT * (length * models) as f64 * (counts.runs + 1) as f64;
                Unit::new(source, length, counts.runs, work)
            }));
        }
        for &length in lengths {
            let models = self.own.len();
            units.extend(in_turns(lab, length, counts.texts, PER_UNIT, models)?);
        }
        Ok(units)
    }

    fn subjects(&self) -> Vec<Subject> {
        Subject::arms(&self.own)
    }

    fn word(&self, name: &str, _: &Records) -> Option<String> {
        match name {
            "arm" => Some(self.arm().label.clone()),
            "slow runs" => Some(self.counts.slow_runs.min(self.counts.runs).to_string()),
            _ => None,
        }
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        let view = self.view(records);
        Ok(match name {
            "boundary" => view.observation().map(Block::Text).into_iter().collect(),
            _ => vec![Block::Table(view.overview())],
        })
    }

    fn verdicts(&self, records: &Records) -> Vec<Verdict> {
        self.view(records).verdicts()
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        self.run_after(unit, lab, &Records::default())
    }

    fn run_after(
        &self,
        unit: &Unit,
        lab: &Lab,
        earlier: &Records,
    ) -> Result<Vec<Measurement>, ReportError> {
        // Dense and arm.
        let mut models = models(&self.own[..2], self.seed(), lab, self.settings.extension);
        if unit.source == CROSSOVER {
            return Ok(self.time(unit, &models, lab));
        }
        let hybrid = self.hybrid(lab, earlier);
        // The choice, made once for a sequence of known length.
        let chosen = hybrid.map(|hybrid| hybrid.for_length(unit.length).clone());
        let form = chosen.as_ref().ok().map(|model| {
            let dense = model.config().arm(0).chunk_size().is_none();
            (dense, self.own[usize::from(!dense)].id.as_str())
        });
        models.push(chosen);
        let reads = |one: &mut Measurement| {
            if let (HYBRID, Some((dense, _))) = (one.arm.as_str(), form) {
                one.set(DENSE, f64::from(u8::from(dense)));
            }
        };
        if unit.source == CHOSEN {
            let mut measurements = self.time(unit, &models, lab);
            if let Some((_, form)) = form {
                beside_form(&mut measurements, form);
            }
            measurements.iter_mut().for_each(reads);
            return Ok(measurements);
        }
        let dense = models.first().and_then(|model| model.as_ref().ok());
        let dense = dense.unwrap_or(lab.dense());
        self.each_text(unit, lab, |ids, index| {
            let new = |row: &ArmSpec| Measurement::new(&row.id, &unit.source, unit.length, index);
            let mut all: Vec<Measurement> = self.own.iter().map(new).collect();
            Reference::read(dense, ids)?.compare(
                &models,
                &mut all,
                |_, dense, arm| compare::score(dense, arm),
                set_closeness,
            )?;
            all.iter_mut().for_each(reads);
            Ok(all)
        })
    }
}
