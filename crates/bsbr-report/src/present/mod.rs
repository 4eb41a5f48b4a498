//! Sections as declared in specifications, rendered from records.

pub mod layout;
pub mod names;
pub mod subject;
pub mod words;

mod beside;
mod chart;
mod growth;
mod lengths;
mod provenance;
mod table;
mod votes;

use std::collections::{BTreeMap, BTreeSet};

use bsbr_gpt2::PositionExtension;

use crate::error::ReportError;
use crate::estimate::Estimate;
use crate::experiment::Experiment;
use crate::overview::{Recorded, Statement, decisive, each};
use crate::present::layout::{
    At, BlockSpec, By, Comparison, HeadlineSpec, Paragraph, Source, Statistic, ValuesSpec,
};
use crate::present::subject::Subject;
use crate::present::words::{Words, is_set, setting, values};
use crate::quantity::{Quantity, part};
use crate::record::{Measurement, Pool, Records};
use crate::section::{Better, Block, Cell, Headline, Section, Verdict};
use crate::spec::Spec;
use crate::style::{Style, grouped};

pub(crate) use growth::{below, exponent};
pub(crate) use votes::counted;

/// An experiment with its records.
pub(crate) struct View<'a> {
    experiment: &'a dyn Experiment,
    spec: &'a Spec,
    records: &'a Records,
    subjects: Vec<Subject>,
}

/// The values of cells or points.
#[derive(Debug, Clone, PartialEq)]
struct Values {
    /// The key that figures of the report refer to.
    key: String,
    title: String,
    quantity: String,
    from: Source,
    length: usize,
    /// The suffix of a subject's id.
    suffix: String,
    make: Statistic,
    style: Style,
    better: Option<Better>,
    /// The value that it is `by`.
    value: Option<usize>,
    /// Other models in its numbers.
    beside: Option<Comparison>,
}

impl Source {
    /// The measurements of the source.
    pub fn pool(&self) -> Pool<'_> {
        match self {
            Self::Texts => Pool::Texts,
            Self::Named(name) => Pool::Source(name),
        }
    }
}

/// The headline numbers of the records.
pub(crate) fn headlines(experiment: &dyn Experiment, records: &Records) -> Vec<Headline> {
    View::new(experiment, records).headlines()
}

/// The section of the records.
///
/// # Errors
///
/// [`ReportError`] if records cannot be drawn.
pub(crate) fn section(
    experiment: &dyn Experiment,
    records: &Records,
) -> Result<Section, ReportError> {
    let spec = experiment.spec();
    let view = View::new(experiment, records);
    let mut blocks = Vec::new();
    let nothing = records.first().is_none();
    for block in &spec.layout.blocks {
        match block {
            // Without records, one table of dashes suffices.
            _ if nothing && !blocks.is_empty() => {}
            BlockSpec::Growth(_) | BlockSpec::Figure(_) | BlockSpec::Special { .. } if nothing => {}
            BlockSpec::Table(table) => blocks.extend(view.tables(table).map(Block::Table)),
            BlockSpec::Lengths(table) => blocks.extend(view.lengths(table).map(Block::Table)),
            BlockSpec::Growth(growth) => blocks.push(Block::Table(view.growth(growth))),
            BlockSpec::Figure(figure) => blocks.push(Block::Figure(view.figure(figure))),
            BlockSpec::Special { name } => blocks.extend(experiment.special(name, records)?),
        }
    }
    let mut verdicts: Vec<Verdict> = spec.goals.iter().map(|goal| view.verdict(goal)).collect();
    verdicts.extend(experiment.verdicts(records));
    Ok(Section {
        id: spec.method.experiment.clone(),
        title: spec.title.clone(),
        question: spec.question.clone(),
        method: view.method(),
        reported: Vec::new(),
        verdicts,
        headlines: view.headlines(),
        blocks,
        provenance: match nothing {
            false => provenance::of(spec, records),
            true => vec![("Records".to_owned(), "—, nothing recorded yet".to_owned())],
        },
    })
}

impl<'a> View<'a> {
    fn new(experiment: &'a dyn Experiment, records: &'a Records) -> Self {
        Self {
            experiment,
            spec: experiment.spec(),
            records,
            subjects: experiment.subjects(),
        }
    }

    /// The values of templates of a block with this length.
    fn words(&self, at: usize) -> Words<'_> {
        Words {
            method: &self.spec.method,
            records: self.records,
            experiment: self.experiment,
            at,
            value: None,
        }
    }

    /// The quantity of a name, which was checked when the specification was read.
    fn quantity(&self, name: &str) -> Quantity {
        let found = self.spec.layout.quantities.find(name);
        found.cloned().unwrap_or_default()
    }

    fn source(&self, from: Option<&Source>) -> Source {
        from.unwrap_or(&self.spec.layout.from).clone()
    }

    /// The length of a block's values.
    fn length(&self, at: Option<&At>, from: &Source) -> usize {
        let method = &self.spec.method;
        let found = match at.unwrap_or(&self.spec.layout.at) {
            At::Recorded => {
                let mut all = self.records.measurements();
                let first = all.find(|one| from.pool().has(&one.source));
                first.map(|one| one.length)
            }
            At::Tokens(tokens) => Some(*tokens),
            At::Max(name) => values(method, name).and_then(|all| all.into_iter().max()),
            At::First(name) => values(method, name).and_then(|all| all.first().copied()),
            At::Setting(name) => setting(method, name),
        };
        found.unwrap_or_default()
    }

    /// The parts of recorded names that match a declared one, in order.
    fn parts(&self, declared: &str, from: &Source, length: usize) -> Vec<String> {
        let own = |one: &&Measurement| one.length == length && from.pool().has(&one.source);
        let names = self.records.measurements().filter(own);
        let names = names.flat_map(|one| one.values.keys());
        let parts: BTreeSet<&str> = names.filter_map(|name| part(declared, name)).collect();
        parts.into_iter().map(str::to_owned).collect()
    }

    /// The values of a column or an axis; `from` and `at` are those of its table.
    fn declared(&self, one: &ValuesSpec, from: Option<&Source>, at: Option<&At>) -> Values {
        let from = self.source(one.from.as_ref().or(from));
        let known = self.quantity(&one.quantity);
        let length = self.length(one.at.as_ref().or(at), &from);
        Values {
            key: one.quantity.clone(),
            title: one.title.clone().unwrap_or(known.title),
            quantity: one.quantity.clone(),
            from,
            length,
            suffix: self.words(length).fill(&one.suffix),
            make: one.make.unwrap_or_default(),
            style: one.style.unwrap_or(known.style),
            better: known.better,
            value: None,
            beside: one.beside.clone(),
        }
    }

    /// The mean of a subject's values.
    fn estimate(&self, id: &str, of: &Values) -> Result<Estimate, String> {
        let id = format!("{id}{}", of.suffix);
        let found = self
            .records
            .estimate(&id, of.from.pool(), of.length, &of.quantity)?;
        Ok(match of.make {
            Statistic::Exponential => found.map(f64::exp),
            _ => found,
        })
    }

    /// The same values by domains, parts of a quantity's name, or values of a setting.
    fn values_by(&self, by: &By, one: &Values, heading: Option<&str>) -> Vec<Values> {
        let named = |value: &str, default: &str| heading.unwrap_or(default).replace("{}", value);
        match by {
            By::Domains => {
                let domains = self.records.domains().into_iter();
                let of = |domain: &str| Values {
                    key: domain.to_owned(),
                    title: named(domain, "{}"),
                    from: Source::Named(domain.to_owned()),
                    ..one.clone()
                };
                domains.map(of).collect()
            }
            By::Parts => {
                let parts = self.parts(&one.quantity, &one.from, one.length);
                let last = parts.len().saturating_sub(1);
                let of = |(index, part): (usize, &String)| {
                    let number: Option<usize> = part.parse().ok();
                    let plain = number.map_or_else(|| part.clone(), |number| number.to_string());
                    let own = self
                        .experiment
                        .part_name(&one.quantity, &plain, index == last);
                    Values {
                        key: plain.clone(),
                        title: own.unwrap_or_else(|| named(&plain, "{}")),
                        quantity: one.quantity.replacen('*', part, 1),
                        value: number,
                        ..one.clone()
                    }
                };
                parts.iter().enumerate().map(of).collect()
            }
            By::Values(setting) => {
                let all = values(&self.spec.method, setting).unwrap_or_default();
                // A `by` of lengths sets the length; any other does not.
                let of_length = one.suffix.is_empty();
                let of = |value: usize| Values {
                    key: value.to_string(),
                    title: named(&grouped(value as u64), "{} tokens"),
                    length: if of_length { value } else { one.length },
                    suffix: one.suffix.replace("{}", &value.to_string()),
                    value: Some(value),
                    ..one.clone()
                };
                all.into_iter().map(of).collect()
            }
        }
    }

    fn method(&self) -> Vec<String> {
        let method = &self.spec.method;
        let texts = self.spec.layout.method.iter().filter_map(|one| match one {
            Paragraph::Always(text) => Some(text),
            Paragraph::When { when, text, .. } if is_set(method, when) => Some(text),
            Paragraph::When { otherwise, .. } => otherwise.as_ref(),
        });
        let words = self.words(0);
        let mut paragraphs: Vec<String> = texts.map(|text| words.fill(text)).collect();
        paragraphs.extend(self.extension());
        paragraphs
    }

    /// A note on the position extension of these records; `None` without one.
    fn extension(&self) -> Option<String> {
        let model = &self.records.first()?.model;
        let extension = self.spec.method.settings.get("extension")?.clone();
        let how = match extension.try_into().ok()? {
            PositionExtension::None => return None,
            PositionExtension::Interpolate { positions } => {
                format!("its table stretched to {positions} rows")
            }
            PositionExtension::RepeatLast { window } => {
                format!("its last {window} positions repeatedly")
            }
            PositionExtension::Crossfade { window, fade } => {
                format!("its last {window} positions repeatedly, cross-faded over {fade} positions")
            }
            PositionExtension::Hierarchical => "its positions again as block numbers".to_owned(),
        };
        Some(format!(
            "{} has {} positions. For longer sequences it uses {how}, without being trained for \
             this.",
            model.name,
            grouped(model.positions as u64)
        ))
    }

    /// The verdict on a goal.
    fn verdict(&self, goal: &Statement) -> Verdict {
        let recorded = Recorded {
            spec: self.spec,
            records: self.records,
        };
        let cases = each(&goal.measure, &recorded, &goal.arm, goal.style);
        let (_, measured) = decisive(&cases, &goal.bounds);
        let row = self.subjects.iter().find(|one| one.id == goal.arm);
        let label = row.map_or(&goal.arm, |one| &one.label);
        goal.bounds.verdict(&goal.text, label, measured, goal.style)
    }

    /// The declared headline numbers, and those of the experiment.
    fn headlines(&self) -> Vec<Headline> {
        let declared = self.spec.layout.headlines.iter();
        let mut all: Vec<Headline> = declared.map(|one| self.headline(one)).collect();
        all.extend(self.experiment.headlines(self.records));
        all
    }

    /// A headline number per arm.
    fn headline(&self, one: &HeadlineSpec) -> Headline {
        let values = self.declared(&one.of, None, None);
        let arms = self.spec.method.arms.iter();
        let cells = arms.map(|arm| {
            let found = self.estimate(&arm.id, &values);
            (arm.id.clone(), Cell::of(found, values.style))
        });
        let cells: BTreeMap<String, Cell> = cells.collect();
        let n = cells.values().filter_map(Cell::samples).max();
        let n = n.map(|n| format!(", n = {n}")).unwrap_or_default();
        Headline {
            note: format!("{}{n}", self.words(values.length).fill(&one.note)),
            title: values.title,
            better: values.better,
            cells,
        }
    }
}
