//! Comparison of models as they are with the dense form of a base, in one table.
//!
//! The quantities are those of the experiments [`EXPERIMENTS`], with their samples and records; the
//! models take the place of arms.

use std::collections::BTreeMap;
use std::path::Path;

use bsbr_attention::ArmConfig;
use bsbr_gpt2::Gpt2;
use serde_json::{Value, json};

use crate::arms::{by_layer, of_layers};
use crate::error::ReportError;
use crate::lab::Lab;
use crate::present;
use crate::present::words::plural;
use crate::record::Records;
use crate::render;
use crate::reproduce::{Plan, RECORDS, jobs, run_info};
use crate::runner::{self, Observer};
use crate::section::{Better, Cell, Column, Headline, Row, Table};
use crate::spec::{ArmSpec, Spec};
use crate::store::Store;
use crate::style::Style;

/// The experiments whose headline numbers form the table, in order.
pub const EXPERIMENTS: [&str; 5] = ["perplexity", "agreement", "qa", "summarisation", "speed"];

/// Settings of which only the greatest value is measured.
const GREATEST: [&str; 2] = ["lengths", "distances"];

/// The id of the base.
const BASE: &str = "dense";

/// The results.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The base and the other models.
    pub models: Vec<ArmSpec>,
    /// The rows of the table, with a cell for each model's id.
    pub headlines: Vec<Headline>,
}

/// The base and the lab's given models, as arms of experiments.
fn models(lab: &Lab) -> Vec<ArmSpec> {
    let base = ArmSpec {
        id: BASE.to_owned(),
        label: match lab.has_arms() {
            true => format!("{}, dense (base)", lab.name),
            false => format!("{} (base)", lab.name),
        },
        about: "dense".to_owned(),
        default: false,
        swept: false,
        config: ArmConfig::DENSE,
    };
    let given = lab.given.iter().map(|(id, model)| {
        let layers = of_layers(model);
        ArmSpec {
            id: id.clone(),
            label: id.clone(),
            about: by_layer(&layers),
            config: layers.into_iter().next().unwrap_or(ArmConfig::DENSE),
            ..base.clone()
        }
    });
    std::iter::once(base.clone()).chain(given).collect()
}

/// The specifications of [`EXPERIMENTS`], with these models as their arms.
fn specs(all: &[Spec], models: &[ArmSpec]) -> Vec<Spec> {
    let found = EXPERIMENTS.iter().filter_map(|name| {
        let found = all.iter().find(|one| one.method.experiment == *name);
        found.cloned()
    });
    found
        .map(|mut spec| {
            spec.method.arms = models.to_vec();
            spec.goals.clear();
            for name in GREATEST {
                let values = spec.method.settings.get_mut(name);
                if let Some(values) = values.and_then(toml::Value::as_array_mut) {
                    let greatest = values.iter().filter_map(toml::Value::as_integer).max();
                    values.retain(|value| value.as_integer() == greatest);
                }
            }
            spec
        })
        .collect()
}

/// Measures what is not recorded in `out` yet, of the lab's dense model and of the given models.
///
/// # Errors
///
/// [`ReportError::UnknownExperiment`] if [`Plan::only`] names an experiment that is not in
/// [`EXPERIMENTS`], [`ReportError::Stopped`] if the observer ended the run, and other errors of a
/// run.
pub fn evaluate(
    plan: &Plan,
    lab: &Lab,
    out: &Path,
    observer: &mut dyn Observer,
) -> Result<Evaluation, ReportError> {
    let models = models(lab);
    let mut plan = Plan {
        specs: specs(&plan.specs, &models),
        ..plan.clone()
    };
    let known = |name: &String| EXPERIMENTS.contains(&name.as_str());
    if let Some(unknown) = plan.only.iter().find(|name| !known(name)) {
        return Err(ReportError::UnknownExperiment {
            name: unknown.clone(),
            known: EXPERIMENTS.join(", "),
        });
    }
    let only = std::mem::take(&mut plan.only);
    plan.specs
        .retain(|spec| only.is_empty() || only.contains(&spec.method.experiment));
    let jobs = jobs(&plan)?;
    let store = Store::new(out.join(RECORDS));
    let records = runner::run(&jobs, lab, &store, &run_info(&plan, lab), observer)?;
    let mut headlines = Vec::new();
    for (job, records) in jobs.iter().zip(&records) {
        headlines.extend(present::headlines(&*job.experiment, records));
        headlines.extend(cache(&job.spec, records, lab, &models));
    }
    Ok(Evaluation { models, headlines })
}

/// The size of the cache after a sequence of the timed length.
fn cache(spec: &Spec, records: &Records, lab: &Lab, models: &[ArmSpec]) -> Option<Headline> {
    if spec.method.experiment != "speed" {
        return None;
    }
    let tokens = records.first()?.measurements.first()?.length;
    let bytes = |model: &Gpt2| {
        let config = model.config();
        let head = |arm: ArmConfig| 4.0 * arm.cache_numbers(tokens, config.head_dim());
        let layers = of_layers(model).into_iter().map(head);
        layers.sum::<f64>() * config.n_head as f64
    };
    let given = lab.given.iter().map(|(_, model)| model);
    let all = std::iter::once(lab.dense()).chain(given);
    let cells = models.iter().zip(all).map(|(arm, model)| {
        let cell = Cell::Number(bytes(model), Style::Mebibytes);
        (arm.id.clone(), cell)
    });
    Some(Headline {
        title: "cache, MiB".to_owned(),
        note: format!(
            "size after {}, by definition",
            plural(tokens as u64, "token")
        ),
        better: Some(Better::Less),
        cells: cells.collect::<BTreeMap<_, _>>(),
    })
}

impl Evaluation {
    /// The table, with one row per quantity.
    pub fn markdown(&self) -> String {
        let layers = self.models.iter().map(|one| Cell::Text(one.about.clone()));
        let mut rows = vec![Row {
            head: "attention".to_owned(),
            cells: layers.collect(),
            ..Row::default()
        }];
        rows.extend(self.headlines.iter().map(|one| {
            let cell = |model: &ArmSpec| {
                let found = one.cells.get(&model.id);
                found.cloned().unwrap_or_else(|| Cell::Text(String::new()))
            };
            Row {
                head: one.title.clone(),
                cells: self.models.iter().map(cell).collect(),
                ..Row::default()
            }
        }));
        let labels = self.models.iter().map(|one| one.label.clone());
        let table = Table {
            note:
                "Means ± standard deviations, with bootstrap 95 % intervals of means in brackets."
                    .to_owned(),
            corner: "measured".to_owned(),
            columns: labels.map(Column::from).collect(),
            rows,
            ..Table::default()
        };
        let notes = self.headlines.iter();
        let notes: Vec<String> = notes
            .map(|one| format!("- {}: {}", one.title, one.note))
            .collect();
        format!(
            "### Models compared with their base\n\n{}\n{}\n",
            render::aligned(&table),
            notes.join("\n")
        )
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let cell = |cell: &Cell| match cell {
            Cell::Missing(reason) => json!({ "missing": reason }),
            cell => {
                let ends = cell.interval();
                json!({
                    "value": cell.value(),
                    "low": ends.map(|ends| ends.low),
                    "high": ends.map(|ends| ends.high),
                    "samples": cell.samples(),
                })
            }
        };
        let models = self.models.iter().map(|model| {
            let measured = self.headlines.iter().filter_map(|one| {
                let found = one.cells.get(&model.id)?;
                Some((one.title.clone(), cell(found)))
            });
            json!({
                "name": model.label,
                "attention": model.about,
                "measured": measured.collect::<serde_json::Map<_, _>>(),
            })
        });
        let notes = self.headlines.iter();
        let notes = notes.map(|one| (one.title.clone(), Value::from(one.note.clone())));
        json!({
            "models": models.collect::<Vec<_>>(),
            "notes": notes.collect::<serde_json::Map<_, _>>(),
        })
    }
}
