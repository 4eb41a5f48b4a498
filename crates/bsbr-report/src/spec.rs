//! An experiment as data: the contents of `assets/experiments/*.toml`.

use std::path::{Path, PathBuf};

use bsbr_attention::{ArmConfig, ArmError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::datasets::DATASETS;
use crate::error::ReportError;
use crate::experiments;
use crate::hash;
use crate::overview::Statement;
use crate::present::layout::{At, BlockSpec, HeadlineSpec, Layout, Paragraph, Source};
use crate::present::names;
use crate::quantity::Quantities;
use crate::reported::REPORT;

/// The file of the arms, beside the specifications.
pub const ARMS: &str = "arms.toml";

/// The keys of a specification that present what was measured.
const PRESENTED: [&str; 5] = ["from", "at", "method", "headline", "block"];

/// One arm of an experiment: a row of every table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmSpec {
    /// Its id in records and specifications.
    pub id: String,
    /// Its name in tables and plots.
    pub label: String,
    /// A description, in one sentence.
    pub about: String,
    /// Whether it is the default arm.
    #[serde(default)]
    pub default: bool,
    /// Whether it is one of several values of a setting, which overviews omit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub swept: bool,
    /// Its settings; in files the text or the object of an arm.
    #[serde(deserialize_with = "bsbr_attention::arm_or_text")]
    pub config: ArmConfig,
}

impl ArmSpec {
    /// An arm that no file declares, by its notation.
    pub fn of(text: &str, config: ArmConfig) -> Self {
        Self {
            id: text.to_owned(),
            label: text.to_owned(),
            about: String::new(),
            default: false,
            swept: false,
            config,
        }
    }

    /// Of one of several values of a setting: the label of the arm without it, the setting and the
    /// value, as in the label `moments, clusters 8`.
    pub fn swept_value(&self) -> Option<(&str, &str, usize)> {
        let (base, last) = self.label.rsplit_once(", ").filter(|_| self.swept)?;
        let (setting, value) = last.rsplit_once(' ')?;
        Some((base, setting, value.parse().ok()?))
    }

    /// Whether it is the original.
    pub fn is_dense(&self) -> bool {
        self.config == ArmConfig::DENSE
    }
}

/// Everything that determines an experiment's measurements; the input of its hash.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Method {
    /// The experiment's name.
    pub experiment: String,
    /// Version of the implementation's method.
    pub version: u32,
    /// The seed of texts, random sequences and calibration.
    pub seed: u64,
    /// The arms.
    pub arms: Vec<ArmSpec>,
    /// Settings; `--quick` and `--full` change only amounts.
    pub settings: toml::Table,
    /// Sample counts.
    pub counts: toml::Table,
    /// Whether the counts are those of `--quick`.
    pub quick: bool,
}

impl Method {
    /// SHA-256 of what is measured, including the ids and settings of the arms but not their
    /// descriptions.
    ///
    /// # Errors
    ///
    /// [`ReportError::Json`] if the settings have no JSON form.
    pub fn hash(&self) -> Result<String, ReportError> {
        let arms: Vec<_> = self.arms.iter().map(|arm| (&arm.id, &arm.config)).collect();
        let measured = (
            (&self.experiment, self.version, self.seed),
            arms,
            (&self.settings, &self.counts, self.quick),
        );
        Ok(hash::of_bytes(&serde_json::to_vec(&measured)?))
    }

    /// Whether a unit measures the same with both methods: they may differ in the experiment's
    /// amounts, and in other arms and counts of other arms if the unit is about one.
    ///
    /// # Errors
    ///
    /// Same as [`Self::hash`].
    pub fn measures_the_same(&self, other: &Self, arm: Option<&str>) -> Result<bool, ReportError> {
        let amounts = experiments::find(&self.experiment)?.amounts;
        let what_counts = |method: &Self| {
            let mut method = method.clone();
            for amount in amounts {
                method.settings.remove(*amount);
                method.counts.remove(*amount);
            }
            method.quick = false;
            if let Some(arm) = arm {
                method.arms.retain(|one| one.id == arm);
                // A count may be a table of arms.
                method.counts.retain(|_, count| match count.as_table_mut() {
                    Some(counts) => {
                        counts.retain(|one, _| one == arm);
                        !counts.is_empty()
                    }
                    None => true,
                });
            }
            method.hash()
        };
        Ok(what_counts(self)? == what_counts(other)?)
    }

    /// A table of this name as a type of the experiment's.
    ///
    /// # Errors
    ///
    /// [`ReportError::Setting`] names the invalid value.
    pub(crate) fn typed<T: DeserializeOwned>(
        &self,
        name: &'static str,
        table: toml::Table,
    ) -> Result<T, ReportError> {
        let invalid = |error: toml::de::Error| ReportError::Setting {
            experiment: self.experiment.clone(),
            table: name,
            message: error.message().to_owned(),
        };
        table.try_into().map_err(invalid)
    }
}

/// An experiment's specification: its method and its presentation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spec {
    /// The method.
    pub method: Method,
    /// The section's heading.
    pub title: String,
    /// The question that the section answers.
    pub question: String,
    /// The section's position on the page.
    pub order: u32,
    /// Whether it runs only if it is named.
    pub omitted: bool,
    /// The goals.
    pub goals: Vec<Statement>,
    /// The contents of its section.
    pub layout: Layout,
}

impl Spec {
    /// An arm by its id.
    pub fn arm(&self, id: &str) -> Option<&ArmSpec> {
        self.method.arms.iter().find(|arm| arm.id == id)
    }
}

/// One arm at several values of one of its settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sweep {
    /// The arm.
    of: String,
    /// The setting's name in `config`.
    parameter: String,
    /// Its values.
    values: Vec<usize>,
}

impl Sweep {
    /// An arm for each value, with the id `arm-parameter-value`.
    fn arms(&self, known: &[ArmSpec]) -> Result<Vec<ArmSpec>, String> {
        let base = find_arm(known, &self.of)?;
        let words = self.parameter.replace('_', " ");
        let arm = |&value: &usize| -> Result<_, String> {
            let config = with(&base.config, &self.parameter, value);
            let config =
                config.map_err(|error| format!("{} of `{}`: {error}", self.parameter, self.of))?;
            Ok(ArmSpec {
                id: format!("{}-{}-{value}", self.of, self.parameter),
                label: format!("{}, {words} {value}", base.label),
                about: format!("{} With {words} {value}.", base.about),
                default: base.default && config == base.config,
                swept: true,
                config,
            })
        };
        self.values.iter().map(arm).collect()
    }
}

/// The format of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecFile {
    experiment: String,
    title: String,
    question: String,
    order: u32,
    seed: u64,
    arms: Vec<String>,
    /// The chunk size of all arms that have one, if it is not that of `arms.toml`.
    #[serde(default)]
    chunk_size: Option<usize>,
    #[serde(default, rename = "sweep")]
    sweeps: Vec<Sweep>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    counts: toml::Table,
    #[serde(skip)]
    omitted: bool,
    #[serde(default)]
    quick: Amounts,
    #[serde(default)]
    full: Amounts,
    #[serde(default)]
    shape: Amounts,
    #[serde(default, rename = "goal")]
    goals: Vec<Statement>,
    #[serde(default)]
    quantities: Quantities,
    #[serde(default)]
    from: Source,
    #[serde(default)]
    at: At,
    #[serde(default)]
    method: Vec<Paragraph>,
    #[serde(default, rename = "headline")]
    headlines: Vec<HeadlineSpec>,
    #[serde(default, rename = "block")]
    blocks: Vec<BlockSpec>,
}

/// The changes of `--quick`, `--full` or `--shape`.
#[derive(Debug, Clone, Default, Deserialize)]
struct Amounts {
    /// The measured arms.
    arms: Option<Vec<String>>,
    /// Run the experiment only if it is named.
    #[serde(default)]
    omit: bool,
    /// Counts, and settings that are amounts.
    #[serde(flatten)]
    amounts: toml::Table,
}

impl Amounts {
    /// Applies the values to the specification; returns the name of one that it does not have.
    fn apply(self, file: &mut SpecFile) -> Result<(), String> {
        let known = experiments::find(&file.experiment).map_err(|e| e.to_string())?;
        if let Some(arms) = self.arms {
            file.arms = arms;
        }
        file.omitted = self.omit;
        for (name, value) in self.amounts {
            let setting = file.settings.get_mut(&name);
            let setting = setting.filter(|_| known.amounts.contains(&name.as_str()));
            match (file.counts.get_mut(&name), setting) {
                (Some(place), _) | (None, Some(place)) => *place = value,
                (None, None) => return Err(format!("`{name}` is neither a count nor an amount")),
            }
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmsFile {
    #[serde(rename = "arm")]
    arms: Vec<ArmSpec>,
}

/// Changes of a specification by the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Use the arms and amounts of `[quick]`, if any.
    pub quick: bool,
    /// Use the arms and amounts of `[full]`, if any.
    pub full: bool,
    /// Use the arms and amounts of `[shape]`, if any, and neither `quick` nor `full` is set.
    pub shape: bool,
    /// Another seed.
    pub seed: Option<u64>,
    /// Other lengths, if the settings have `lengths`; empty for no change.
    pub lengths: Vec<u32>,
    /// Other distances between facts and questions, in words, if the settings have `distances`;
    /// empty for no change.
    pub distances: Vec<u32>,
    /// Baselines of timing, if the settings have `baselines`.
    pub baselines: Vec<String>,
}

impl Overrides {
    /// Changes the settings of a specification.
    fn apply(&self, settings: &mut toml::Table) {
        for (name, others) in [("lengths", &self.lengths), ("distances", &self.distances)] {
            if let (Some(value), false) = (settings.get_mut(name), others.is_empty()) {
                *value = others.clone().into();
            }
        }
        if let (Some(value), false) = (settings.get_mut("baselines"), self.baselines.is_empty()) {
            *value = self.baselines.clone().into();
        }
    }
}

/// Reads the arms that specifications refer to.
///
/// # Errors
///
/// [`ReportError`] if the file cannot be read, or an arm is invalid or named twice.
pub fn read_arms(path: &Path) -> Result<Vec<ArmSpec>, ReportError> {
    let file: ArmsFile = parse(path, &read(path)?)?;
    for (index, arm) in file.arms.iter().enumerate() {
        if file.arms[..index].iter().any(|other| other.id == arm.id) {
            return Err(spec_error(path, format!("arm `{}` is named twice", arm.id)));
        }
    }
    Ok(file.arms)
}

/// Reads every specification of a folder, in their declared order, with the arms of its [`ARMS`].
///
/// # Errors
///
/// [`ReportError`] if a file cannot be read or is not a specification.
pub fn read_specs(folder: &Path, overrides: &Overrides) -> Result<Vec<Spec>, ReportError> {
    let arms = read_arms(&folder.join(ARMS))?;
    let mut paths = files(folder, &["toml"])?;
    let others = [ARMS, DATASETS, REPORT].map(|name| folder.join(name));
    paths.retain(|path| !others.contains(path));
    let mut specs = paths
        .iter()
        .map(|path| parse_spec(path, &read(path)?, &arms, overrides))
        .collect::<Result<Vec<_>, _>>()?;
    specs.sort_by_key(|spec| spec.order);
    Ok(specs)
}

/// A specification from the text of its file.
///
/// # Errors
///
/// [`ReportError::Spec`] with the error.
pub fn parse_spec(
    path: &Path,
    text: &str,
    arms: &[ArmSpec],
    overrides: &Overrides,
) -> Result<Spec, ReportError> {
    let wrong = |message: String| spec_error(path, message);
    let mut file: SpecFile = parse(path, text)?;
    let of_shape = overrides.shape && !overrides.quick && !overrides.full;
    for (name, scale, taken) in [
        ("quick", std::mem::take(&mut file.quick), overrides.quick),
        ("full", std::mem::take(&mut file.full), overrides.full),
        ("shape", std::mem::take(&mut file.shape), of_shape),
    ] {
        // Unused ones are checked too.
        let mut other = file.clone();
        let scaled = if taken { &mut file } else { &mut other };
        let applied = scale.apply(scaled);
        applied.map_err(|message| wrong(format!("`[{name}]`: {message}")))?;
    }
    overrides.apply(&mut file.settings);
    let named = file.arms.iter().map(|id| find_arm(arms, id).map_err(wrong));
    let named = named.collect::<Result<Vec<_>, _>>()?;
    let mut named: Vec<ArmSpec> = named.into_iter().cloned().collect();
    if let Some(size) = file.chunk_size {
        let chunked = |arm: &&mut ArmSpec| arm.config.chunk_size().is_some();
        for arm in named.iter_mut().filter(chunked) {
            arm.config =
                with(&arm.config, "chunk_size", size).map_err(|error| wrong(error.to_string()))?;
        }
    }
    for sweep in &file.sweeps {
        named.extend(sweep.arms(arms).map_err(wrong)?);
    }
    let known = experiments::find(&file.experiment)?;
    let method = Method {
        version: known.version,
        experiment: file.experiment,
        seed: overrides.seed.unwrap_or(file.seed),
        arms: named,
        settings: file.settings,
        counts: file.counts,
        quick: overrides.quick,
    };
    let layout = Layout {
        quantities: file.quantities,
        from: file.from,
        at: file.at,
        method: file.method,
        headlines: file.headlines,
        blocks: file.blocks,
    };
    layout.check().map_err(wrong)?;
    let parts: toml::Table = parse(path, text)?;
    for (key, part) in parts {
        if PRESENTED.contains(&key.as_str()) {
            let checked = layout.quantities.check(&key, &part);
            let checked = checked.and_then(|()| names::check(known.names, &key, &part, &method));
            checked.map_err(wrong)?;
        }
    }
    for goal in &mut file.goals {
        goal.experiment.clone_from(&method.experiment);
        goal.check().map_err(wrong)?;
        let wrong = |message| wrong(format!("“{}”: {message}", goal.text));
        // A row may be an arm with a setting of the experiment: `arm-setting`, `arm@windows`.
        let is_of = |arm: &ArmSpec| {
            let rest = goal.arm.strip_prefix(&arm.id);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '@']))
        };
        if !method.arms.iter().any(is_of) {
            return Err(wrong(format!("there is no arm `{}`", goal.arm)));
        }
        let quantity = goal.measure.check(&layout.quantities, known.names);
        let Some(quantity) = quantity.map_err(wrong)? else {
            return Err(wrong("it measures no quantity".to_owned()));
        };
        goal.style = quantity.style;
    }
    Ok(Spec {
        method,
        title: file.title,
        question: file.question,
        order: file.order,
        omitted: file.omitted,
        goals: file.goals,
        layout,
    })
}

fn find_arm<'a>(arms: &'a [ArmSpec], id: &str) -> Result<&'a ArmSpec, String> {
    arms.iter().find(|arm| arm.id == id).ok_or_else(|| {
        let known: Vec<&str> = arms.iter().map(|arm| arm.id.as_str()).collect();
        format!("there is no arm `{id}`; there are {}", known.join(", "))
    })
}

/// An arm with another value of one of its settings.
fn with(config: &ArmConfig, setting: &str, value: usize) -> Result<ArmConfig, ArmError> {
    let mut config = config.clone();
    config.set(setting, &value.to_string())?;
    Ok(config)
}

/// The first arm of each id.
pub(crate) fn arms_once<'a>(all: impl Iterator<Item = &'a ArmSpec>) -> Vec<ArmSpec> {
    let mut arms: Vec<ArmSpec> = Vec::new();
    for arm in all {
        if !arms.iter().any(|known| known.id == arm.id) {
            arms.push(arm.clone());
        }
    }
    arms
}

/// The arm that others are compared with.
pub fn dense(arms: &[ArmSpec]) -> Option<&ArmSpec> {
    arms.iter().find(|arm| arm.is_dense())
}

pub(crate) fn read(path: &Path) -> Result<String, ReportError> {
    std::fs::read_to_string(path).map_err(ReportError::reading(path))
}

/// The files of a folder whose names end with one of `ends`, sorted.
pub(crate) fn files(folder: &Path, ends: &[&str]) -> Result<Vec<PathBuf>, ReportError> {
    let listing = std::fs::read_dir(folder).map_err(ReportError::reading(folder))?;
    let is_one = |path: &PathBuf| {
        let end = path.extension();
        end.is_some_and(|end| ends.iter().any(|one| end == *one))
    };
    let paths = listing.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.filter(is_one).collect();
    paths.sort();
    Ok(paths)
}

pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ReportError> {
    toml::from_str(text).map_err(|error| spec_error(path, error.to_string()))
}

pub(crate) fn spec_error(path: &Path, message: String) -> ReportError {
    ReportError::Spec {
        path: path.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method() -> Method {
        Method {
            experiment: "agreement".to_owned(),
            version: 1,
            seed: 1,
            arms: vec![ArmSpec {
                id: "one".to_owned(),
                label: "One".to_owned(),
                about: "An arm.".to_owned(),
                default: false,
                swept: false,
                config: ArmConfig::DENSE,
            }],
            settings: toml::toml! { length = 8 },
            counts: toml::toml! { texts = 2 },
            quick: false,
        }
    }

    #[test]
    fn the_hash_is_of_what_is_measured_and_not_of_its_words() {
        let of = |change: fn(&mut Method)| {
            let mut method = method();
            change(&mut method);
            method.hash().unwrap()
        };
        let same = method().hash().unwrap();
        let words: [fn(&mut Method); 4] = [
            |method| method.arms[0].label = "Another".to_owned(),
            |method| method.arms[0].about = "Another arm.".to_owned(),
            |method| method.arms[0].default = true,
            |method| method.arms[0].swept = true,
        ];
        for (index, change) in words.into_iter().enumerate() {
            assert_eq!(of(change), same, "{index}");
        }
        let measured: [fn(&mut Method); 9] = [
            |method| method.arms[0].id = "two".to_owned(),
            |method| method.arms[0].config = ArmConfig::Local(Default::default()),
            |method| method.arms.clear(),
            |method| method.experiment = "similarity".to_owned(),
            |method| method.settings = toml::toml! { length = 9 },
            |method| method.counts = toml::toml! { texts = 3 },
            |method| method.seed = 2,
            |method| method.version = 2,
            |method| method.quick = true,
        ];
        let mut all: Vec<String> = measured.into_iter().map(of).collect();
        all.push(same);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn counts_of_other_arms_do_not_matter_to_a_unit_about_one() {
        let with = |counts| Method {
            experiment: "extension".to_owned(),
            counts,
            ..method()
        };
        let before = with(toml::toml! { windows = [0, 1] });
        let after = with(toml::toml! {
            windows = [0, 1]
            [more]
            two = 9
        });
        let same = |arm| after.measures_the_same(&before, arm).unwrap();
        assert_eq!(
            [Some("one"), Some("two"), None].map(same),
            [true, false, false]
        );
    }
}
