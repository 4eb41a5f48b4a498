//! Runs and records everything that is not recorded yet.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::forecast::Forecast;
use crate::lab::Lab;
use crate::record::{ALL, FORMAT, Identity, Measurement, Record, Records, RunInfo};
use crate::spec::Spec;
use crate::store::Store;

/// An observer of a run, which may end it.
pub trait Observer {
    /// The plan: the number of units, the number with records, and the forecast for the rest.
    fn planned(&mut self, _units: usize, _recorded: usize, _forecast: &Forecast) {}

    /// A unit begins.
    fn begins(&mut self, _experiment: &str, _unit: &Unit) {}

    /// A unit is recorded, `seconds` after it began.
    fn recorded(&mut self, _experiment: &str, _unit: &Unit, _seconds: f64, _: &Forecast) {}

    /// Whether to stop before the next unit.
    fn should_stop(&self) -> bool {
        false
    }
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// A specification with its implementation.
pub struct Job {
    /// The specification.
    pub spec: Spec,
    /// The implementation.
    pub experiment: Box<dyn Experiment>,
}

impl Job {
    /// The record of a unit, if it is what this job would measure.
    fn find(
        &self,
        unit: &Unit,
        identity: &Identity,
        store: &Store,
    ) -> Result<Option<Record>, ReportError> {
        let method = &self.spec.method;
        let Some(record) = store.find(&method.experiment, &unit.id())? else {
            return Ok(None);
        };
        let same = Identity {
            spec: identity.spec.clone(),
            ..record.identity.clone()
        };
        let arm = unit.arm.as_deref();
        let fits = same == *identity
            && (record.identity == *identity || record.method.measures_the_same(method, arm)?);
        Ok(fits.then_some(record))
    }
}

/// The identity of a specification's records.
///
/// # Errors
///
/// [`ReportError::Json`] if the specification cannot be hashed.
pub fn identity(spec: &Spec, lab: &Lab) -> Result<Identity, ReportError> {
    Ok(Identity {
        spec: spec.method.hash()?,
        model: lab.model_hash().to_owned(),
        data: lab.corpus().hash().to_owned(),
        device: lab.device_name.clone(),
        dtype: lab.dtype(),
        weights: lab.weights.map(|products| products.name().to_owned()),
    })
}

/// The existing records of a job, in the order of its units. There are none if the texts are too
/// short for it: this matters only to a job that runs.
///
/// # Errors
///
/// [`ReportError`] if a record cannot be read or the settings do not fit the model.
pub fn recorded(job: &Job, lab: &Lab, store: &Store) -> Result<Records, ReportError> {
    let identity = identity(&job.spec, lab)?;
    let mut records = Vec::new();
    let units = match job.experiment.units(lab) {
        Err(ReportError::ShortText { .. }) => Vec::new(),
        units => units?,
    };
    for unit in units {
        records.extend(job.find(&unit, &identity, store)?);
    }
    Ok(Records::new(records))
}

/// Runs every unit without a record and returns each job's records.
///
/// Units of all jobs are planned first, so that an invalid setting fails before anything runs.
///
/// # Errors
///
/// [`ReportError::Stopped`] if the observer ended the run, and errors of the experiments.
pub fn run(
    jobs: &[Job],
    lab: &Lab,
    store: &Store,
    info: &RunInfo,
    observer: &mut dyn Observer,
) -> Result<Vec<Records>, ReportError> {
    let mut plan = Vec::with_capacity(jobs.len());
    let (mut total, mut done) = (0, 0);
    let mut forecast = Forecast::default();
    for job in jobs {
        let identity = identity(&job.spec, lab)?;
        let mut units = Vec::new();
        for unit in job.experiment.units(lab)? {
            let found = job.find(&unit, &identity, store)?;
            match found {
                Some(_) => done += 1,
                None => forecast.plan(&job.spec.method.experiment, unit.work),
            }
            total += 1;
            units.push((unit, found));
        }
        plan.push((job, identity, units));
    }
    observer.planned(total, done, &forecast);

    let mut all = Vec::with_capacity(plan.len());
    for (job, identity, units) in plan {
        let name = &job.spec.method.experiment;
        let mut records = Records::default();
        for (unit, found) in units {
            if let Some(record) = found {
                records.push(record);
                continue;
            }
            if observer.should_stop() {
                return Err(ReportError::Stopped { done, total });
            }
            observer.begins(name, &unit);
            let start = Instant::now();
            let measurements = job.experiment.run_after(&unit, lab, &records)?;
            let seconds = start.elapsed().as_secs_f64();
            check_declared(&job.spec, &measurements)?;
            let record = Record {
                format: FORMAT,
                checksum: String::new(),
                unit: unit.id(),
                identity: identity.clone(),
                method: job.spec.method.clone(),
                model: lab.model_info(),
                run: info.clone(),
                seconds: (seconds * 1e3).round() / 1e3,
                samples: (unit.samples.end - unit.samples.start) as usize,
                measurements,
            };
            store.save(&record)?;
            done += 1;
            forecast.done(name, unit.work, seconds);
            observer.recorded(name, &unit, seconds, &forecast);
            records.push(record);
        }
        all.push(records);
    }
    Ok(all)
}

/// Refuses measurements of undeclared quantities, which no table could show.
fn check_declared(spec: &Spec, measurements: &[Measurement]) -> Result<(), ReportError> {
    let names: BTreeSet<&String> = measurements
        .iter()
        .flat_map(|one| one.values.keys().chain(one.missing.keys()))
        .collect();
    for name in names.into_iter().filter(|name| *name != ALL) {
        let found = spec.layout.quantities.find(name);
        found.map_err(|message| ReportError::Undeclared {
            experiment: spec.method.experiment.clone(),
            message,
        })?;
    }
    Ok(())
}
