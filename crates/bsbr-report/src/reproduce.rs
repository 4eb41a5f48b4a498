//! From specifications to a page: the work of `cargo xtask reproduce`.

use std::path::{Path, PathBuf};

use crate::error::ReportError;
use crate::experiments;
use crate::host::{Commit, Machine, today};
use crate::judge::{VOTES, read_votes};
use crate::lab::{CALIBRATION_TOKENS, Lab};
use crate::overview::{self, Overview, Recorded};
use crate::record::{Record, Records, RunInfo};
use crate::render::Report;
use crate::reported::Reported;
use crate::runner::{self, Job, Observer};
use crate::section::Section;
use crate::spec::{ArmSpec, Spec, arms_once};
use crate::store::Store;

/// The folder of records within the output folder.
pub const RECORDS: &str = "records";

/// The inputs of a run and of rendering.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every specification, in the order of the page.
    pub specs: Vec<Spec>,
    /// Names of the experiments to run; all if empty. The others are shown if they have records.
    pub only: Vec<String>,
    /// The report's figures.
    pub reported: Reported,
    /// The first screen, and the report's conclusions.
    pub overview: Overview,
    /// The command line, for the records.
    pub command: String,
    /// The commit of the program, for the records.
    pub commit: Option<Commit>,
}

impl Plan {
    /// Checks the names of [`Plan::only`], and the overview.
    ///
    /// # Errors
    ///
    /// [`ReportError::UnknownExperiment`] if no specification has that name, and
    /// [`ReportError::Overview`].
    pub fn check(&self) -> Result<(), ReportError> {
        let known: Vec<&str> = self.specs.iter().map(name).collect();
        let mut only = self.only.iter();
        if let Some(unknown) = only.find(|only| !known.contains(&only.as_str())) {
            return Err(ReportError::UnknownExperiment {
                name: unknown.clone(),
                known: known.join(", "),
            });
        }
        self.overview.check(&self.specs, &self.reported)
    }

    fn runs(&self, spec: &Spec) -> bool {
        match self.only.is_empty() {
            true => !spec.omitted,
            false => self.only.iter().any(|only| only == name(spec)),
        }
    }
}

fn name(spec: &Spec) -> &str {
    &spec.method.experiment
}

/// Runs everything that is not recorded yet, then writes Markdown, plots and the page into `out`;
/// returns the page's path.
///
/// # Errors
///
/// [`ReportError::Stopped`] if the observer ended the run; other errors of a run.
pub fn reproduce(
    plan: &Plan,
    lab: &Lab,
    out: &Path,
    observer: &mut dyn Observer,
) -> Result<PathBuf, ReportError> {
    plan.check()?;
    let store = Store::new(out.join(RECORDS));
    let info = run_info(plan, lab);
    let all = jobs(plan)?.into_iter();
    let (running, shown): (Vec<Job>, Vec<Job>) = all.partition(|job| plan.runs(&job.spec));
    let records = runner::run(&running, lab, &store, &info, observer)?;
    let mut all: Vec<(Job, Records)> = running.into_iter().zip(records).collect();
    // Some experiments have units only with `--full`.
    all.retain(|(_, records)| records.first().is_some());
    all.extend(recorded(shown, lab, &store)?);
    report(plan, lab, all, out)?.write(out)
}

/// Renders the records in `out`, without running anything; returns the page's path.
///
/// # Errors
///
/// [`ReportError`] if a record cannot be read or drawn, or a file cannot be written.
pub fn render(plan: &Plan, lab: &Lab, out: &Path) -> Result<PathBuf, ReportError> {
    let store = Store::new(out.join(RECORDS));
    let all = recorded(jobs(plan)?, lab, &store)?;
    report(plan, lab, all, out)?.write(out)
}

/// Renders the records in `out`, and returns the files there that differ from the result.
///
/// # Errors
///
/// [`ReportError`] if a record cannot be read or drawn.
pub fn differences(plan: &Plan, lab: &Lab, out: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let store = Store::new(out.join(RECORDS));
    let all = recorded(jobs(plan)?, lab, &store)?;
    refuse_uncommitted(&all, out)?;
    let files = report(plan, lab, all, out)?.files();
    let differs = |(path, bytes): &(PathBuf, Vec<u8>)| {
        // An unreadable file also differs.
        std::fs::read(out.join(path)).ok().as_ref() != Some(bytes)
    };
    let files = files.into_iter().filter(differs);
    Ok(files.map(|(path, _)| out.join(path)).collect())
}

/// Refuses records of a program with uncommitted changes.
fn refuse_uncommitted(all: &[(Job, Records)], out: &Path) -> Result<(), ReportError> {
    let records = all.iter().flat_map(|(_, records)| records.iter());
    let of_uncommitted = |record: &&Record| {
        let commit = record.run.commit.as_ref();
        commit.is_some_and(Commit::is_of_uncommitted_build)
    };
    let mut made = records.filter(of_uncommitted);
    match made.next() {
        None => Ok(()),
        Some(first) => Err(ReportError::Uncommitted {
            path: out.join(RECORDS),
            first: format!("{} of {}", first.unit, first.method.experiment),
            count: 1 + made.count(),
        }),
    }
}

/// The experiments that have records.
fn recorded(jobs: Vec<Job>, lab: &Lab, store: &Store) -> Result<Vec<(Job, Records)>, ReportError> {
    let mut all = Vec::with_capacity(jobs.len());
    for job in jobs {
        let records = runner::recorded(&job, lab, store)?;
        if records.first().is_some() {
            all.push((job, records));
        }
    }
    Ok(all)
}

fn sections(all: &[(Job, Records)], reported: &Reported) -> Result<Vec<Section>, ReportError> {
    let section = |(job, records): &(Job, Records)| {
        let mut section = job.experiment.render(records)?;
        reported.attach(&mut section);
        Ok(section)
    };
    all.iter().map(section).collect()
}

pub(crate) fn jobs(plan: &Plan) -> Result<Vec<Job>, ReportError> {
    let job = |spec: &Spec| {
        Ok(Job {
            spec: spec.clone(),
            experiment: experiments::build(spec)?,
        })
    };
    plan.specs.iter().map(job).collect()
}

/// The report on records, and on the votes beside them.
fn report(
    plan: &Plan,
    lab: &Lab,
    mut all: Vec<(Job, Records)>,
    out: &Path,
) -> Result<Report, ReportError> {
    let votes = read_votes(&out.join(VOTES))?;
    // New results have their usual position.
    let specs = plan.specs.iter();
    all.sort_by_cached_key(|(job, _)| specs.clone().position(|one| name(one) == name(&job.spec)));
    for (_, records) in &mut all {
        *records = std::mem::take(records).with_votes(votes.clone());
    }
    let none = Records::default();
    let source = |spec| {
        let mut recorded = all.iter();
        let found = recorded.find(|(job, _)| name(&job.spec) == name(spec));
        Recorded {
            spec,
            records: found.map_or(&none, |(_, records)| records),
        }
    };
    let sources: Vec<Recorded<'_>> = plan.specs.iter().map(source).collect();
    let arms = arms(all.iter().map(|(job, _)| &job.spec));
    Ok(Report {
        model: lab.model_info(),
        quick: plan.specs.iter().any(|spec| spec.method.quick),
        cite: plan.reported.cite(),
        answers: overview::answer(&plan.overview, &sources, &plan.reported, &arms),
        sections: sections(&all, &plan.reported)?,
        arms,
    })
}

/// Every arm of specifications, each once, without the values of sweeps.
fn arms<'a>(specs: impl Iterator<Item = &'a Spec>) -> Vec<ArmSpec> {
    let arms = specs.flat_map(|spec| &spec.method.arms);
    arms_once(arms.filter(|arm| !arm.swept))
}

pub(crate) fn run_info(plan: &Plan, lab: &Lab) -> RunInfo {
    RunInfo {
        command: plan.command.clone(),
        commit: plan.commit.clone(),
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
