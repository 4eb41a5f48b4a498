//! Dense attention up to a measured length and an arm beyond it: gain and loss.

mod shown;

use bsbr_convert::Hybrid;

use crate::experiments::beside::{Reference, set_closeness};
use crate::experiments::prelude::*;
use crate::growth::Crossover;
use crate::rounds::compare;

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

/// Work per timed token.
const EFFORT: f64 = 0.36;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per sequence.
    pub lengths: Vec<usize>,
    /// Runs longer than these seconds are timed only [`Self::slow_runs`] times.
    pub slow_seconds: f64,
    /// The accepted slowdown of the hybrid relative to its chosen form.
    pub tolerance: f64,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
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
pub type ByLength = Frame<Settings, [ArmSpec; 3]>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Frame::<Settings>::read(spec, &["lengths", "runs", "slow_runs"], &[])?;
    let pair = match one.arms() {
        [dense, arm] if dense.is_dense() && !arm.is_dense() => Ok([dense.clone(), arm.clone()]),
        _ => Err("`arms` must be the dense arm and one other"),
    };
    let [dense, mut arm] = one.require_valid(pair)?;
    arm.default = false;
    let hybrid = ArmSpec {
        id: HYBRID.to_owned(),
        label: HYBRID.to_owned(),
        about: "Dense attention up to the crossover, and the arm beyond it.".to_owned(),
        default: true,
        ..arm.clone()
    };
    Ok(Box::new(one.with([dense, arm, hybrid])))
}

impl ByLength {
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
        let crossover = self.crossover(earlier);
        let crossover = crossover.ok_or("dense and the arm were never timed together")?;
        // Without a crossover the hybrid is dense at every length: ∞ becomes the largest number.
        let longest_dense = crossover.tokens.round() as usize;
        let extension = self.settings.extension;
        let converted = lab.model_for_any_length(self.arm(), self.seed(), extension)?;
        Hybrid::new(converted, longest_dense).map_err(|error| error.to_string())
    }

    /// Rounds of the available models, at one length, of which `form` is that of the hybrid.
    fn time(
        &self,
        unit: &Unit,
        models: &[Result<Gpt2, String>],
        form: Option<&str>,
        lab: &Lab,
    ) -> Vec<Measurement> {
        let length = unit.length;
        let ids = random(self.seed(), 0, lab.dense().config().vocab_size, length);
        let case = |(row, model): (&ArmSpec, &Result<Gpt2, String>)| {
            let run = model.clone().and_then(|model| model_run(model, &ids));
            Case::timed(&row.id, length, run)
        };
        let cases: Vec<_> = self.own.iter().zip(models).map(case).collect();
        let rounds = Rounds {
            slow_runs: self.settings.slow_runs,
            slow_seconds: self.settings.slow_seconds,
            ..Rounds::timed(self.settings.runs)
        };
        let mut all = rounds.run(&cases, &unit.source);
        let seconds = |one: &Measurement| one.values.get("seconds").copied();
        for round in &mut all {
            let dense = Ok(self.own[0].id.as_str());
            compare(round, dense, "seconds", "speedup", |own, dense| dense / own);
            let other = round.iter().find(|one| form == Some(one.arm.as_str()));
            let other = other.and_then(seconds);
            let hybrid = round.iter_mut().find(|one| one.arm == HYBRID);
            if let (Some(one), Some(other)) = (hybrid, other)
                && let Some(own) = seconds(one)
            {
                one.set(BESIDE_FORM, own / other);
            }
        }
        all.concat()
    }
}

impl Experiment for ByLength {
    fn units(&self, lab: &Lab) -> Units {
        let settings = &self.settings;
        let lengths = &settings.lengths;
        let mut units = Vec::new();
        for (source, models) in [(CROSSOVER, 2), (CHOSEN, 3)] {
            units.extend(lengths.iter().map(|&length| {
                let work = EFFORT * (length * models) as f64 * (settings.runs + 1) as f64;
                Unit::new(source, length, settings.runs, work)
            }));
        }
        for &length in lengths {
            let models = self.own.len();
            units.extend(round_robin(lab, length, [settings.texts, 1], models)?);
        }
        Ok(units)
    }

    fn subjects(&self) -> Vec<Subject> {
        Subject::arms(&self.own)
    }

    fn word(&self, name: &str, _: &Records) -> Option<String> {
        match name {
            "arm" => Some(self.arm().label.clone()),
            "slow runs" => Some(self.settings.slow_runs.min(self.settings.runs).to_string()),
            _ => None,
        }
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        Ok(Vec::from_iter(match name {
            "boundary" => self.observation(records).map(Block::Text),
            _ => Some(Block::Table(self.overview(records))),
        }))
    }

    fn verdicts(&self, records: &Records) -> Vec<Verdict> {
        self.judged(records)
    }

    fn run_after(&self, unit: &Unit, lab: &Lab, earlier: &Records) -> Measured {
        // Dense and arm.
        let mut models = models(&self.own[..2], self.seed(), lab, self.settings.extension);
        if unit.source == CROSSOVER {
            return Ok(self.time(unit, &models, None, lab));
        }
        // The choice, made once for a sequence of known length.
        let hybrid = self.hybrid(lab, earlier);
        let chosen = hybrid.map(|hybrid| hybrid.for_length(unit.length).clone());
        let reads_dense = chosen
            .as_ref()
            .map(|one| one.config().arm(0).chunk_size().is_none());
        let reads_dense = reads_dense.ok();
        models.push(chosen);
        let reads = |one: &mut Measurement| {
            if let (HYBRID, Some(dense)) = (one.arm.as_str(), reads_dense) {
                one.set(DENSE, f64::from(u8::from(dense)));
            }
        };
        if unit.source == CHOSEN {
            let form = reads_dense.map(|dense| self.own[usize::from(!dense)].id.as_str());
            let mut all = self.time(unit, &models, form, lab);
            all.iter_mut().for_each(reads);
            return Ok(all);
        }
        let dense = models[0].as_ref().unwrap_or(lab.dense());
        self.each_text(unit, lab, |ids, index| {
            let mut all = unit.empty(self.own.iter().map(|row| row.id.as_str()), index);
            let dense = Reference::read(dense, ids)?;
            dense.compare(&models, &mut all, compare::score, set_closeness)?;
            all.iter_mut().for_each(reads);
            Ok(all)
        })
    }
}
