//! From specifications to a page: what `cargo xtask reproduce` does.

use std::path::{Path, PathBuf};

use crate::error::ReportError;
use crate::experiments;
use crate::host::{Commit, Machine, today};
use crate::judge::{VOTES, read_votes};
use crate::lab::{CALIBRATION_TOKENS, Lab};
use crate::record::RunInfo;
use crate::render::Report;
use crate::reported::Claim;
use crate::runner::{self, Job, Observer};
use crate::spec::{ArmSpec, Spec};
use crate::store::Store;

/// The folder of records within the output folder.
pub const RECORDS: &str = "records";

/// What is run, and what it is rendered with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every specification, in the order of the page.
    pub specs: Vec<Spec>,
    /// Names of the experiments to run; all where empty. The others are shown where their records
    /// are there.
    pub only: Vec<String>,
    /// The report's numbers.
    pub claims: Vec<Claim>,
    /// The command line, for the records.
    pub command: String,
}

impl Plan {
    /// Checks the names of [`Plan::only`].
    ///
    /// # Errors
    ///
    /// [`ReportError::UnknownExperiment`] where no specification has that name.
    pub fn check(&self) -> Result<(), ReportError> {
        let known: Vec<&str> = self.specs.iter().map(name).collect();
        match self
            .only
            .iter()
            .find(|only| !known.contains(&only.as_str()))
        {
            None => Ok(()),
            Some(unknown) => Err(ReportError::UnknownExperiment {
                name: unknown.clone(),
                known: known.join(", "),
            }),
        }
    }

    fn runs(&self, spec: &Spec) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name(spec))
    }
}

fn name(spec: &Spec) -> &str {
    &spec.method.experiment
}

/// Runs what is not recorded yet, then writes Markdown, plots and the page into `out`; gives the
/// page's path.
///
/// # Errors
///
/// [`ReportError::Stopped`] where the observer ended the run; what else can go wrong with a run.
pub fn reproduce(
    plan: &Plan,
    lab: &Lab,
    out: &Path,
    observer: &mut dyn Observer,
) -> Result<PathBuf, ReportError> {
    plan.check()?;
    let store = Store::new(out.join(RECORDS));
    let info = run_info(plan, lab);
    let job = |spec: &Spec| -> Result<Job, ReportError> {
        Ok(Job {
            spec: spec.clone(),
            experiment: experiments::build(spec, &plan.claims)?,
        })
    };
    let jobs = plan.specs.iter().map(job).collect::<Result<Vec<_>, _>>()?;
    let (running, shown): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| plan.runs(&job.spec));
    let records = runner::run(&running, lab, &store, &info, observer)?;
    let votes = read_votes(&out.join(VOTES))?;

    let mut sections = Vec::new();
    for (job, records) in running.iter().zip(records) {
        let records = records.with_votes(votes.clone());
        sections.push((job.spec.order, job.experiment.render(&records)?));
    }
    for job in &shown {
        let records = runner::recorded(job, lab, &store)?.with_votes(votes.clone());
        if records.first().is_some() {
            sections.push((job.spec.order, job.experiment.render(&records)?));
        }
    }
    sections.sort_by_key(|(order, _)| *order);
    let report = Report {
        model: lab.model_info(),
        arms: arms(&plan.specs),
        quick: plan.specs.iter().any(|spec| spec.method.quick),
        sections: sections.into_iter().map(|(_, section)| section).collect(),
    };
    report.write(out)
}

/// Every arm of the specifications, each once, without the values of sweeps.
fn arms(specs: &[Spec]) -> Vec<ArmSpec> {
    let mut arms: Vec<ArmSpec> = Vec::new();
    for arm in specs.iter().flat_map(|spec| &spec.method.arms) {
        if !arm.swept && !arms.iter().any(|known| known.id == arm.id) {
            arms.push(arm.clone());
        }
    }
    arms
}

fn run_info(plan: &Plan, lab: &Lab) -> RunInfo {
    RunInfo {
        command: plan.command.clone(),
        commit: Commit::here(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date: today(),
        machine: Machine::this(),
        threads: rayon::current_num_threads(),
        texts: lab.corpus().describe(),
        calibration: format!(
            "{CALIBRATION_TOKENS} tokens of {}",
            lab.corpus().describe_training()
        ),
    }
}
