//! What a section shows, as a specification declares it.

use serde::Deserialize;

use crate::quantity::Quantities;
use crate::render::scale::ScaleSpec;
use crate::section::Style;

/// A section: paragraphs on the method, headlines, and blocks in their order.
///
/// Texts and titles are [templates](crate::present::words).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    /// What is measured.
    pub quantities: Quantities,
    /// Where values are taken from where a block says nothing else.
    pub from: Source,
    /// The length that values are of where a block says nothing else.
    pub at: At,
    /// Paragraphs on what was measured and how.
    pub method: Vec<Paragraph>,
    /// Columns of the overview.
    pub headlines: Vec<HeadlineSpec>,
    /// Tables, figures and texts.
    pub blocks: Vec<BlockSpec>,
}

/// A paragraph, or one of two.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Paragraph {
    /// Always the same.
    Always(String),
    /// One where a setting is there and not empty, else another or none.
    When(Choice),
}

/// One of two paragraphs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The setting.
    pub when: String,
    /// With it.
    pub text: String,
    /// Without it.
    #[serde(default)]
    pub otherwise: Option<String>,
}

/// Where values are taken from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "String")]
pub enum Source {
    /// Texts of all domains.
    #[default]
    Texts,
    /// One source, as records name it.
    Named(String),
}

impl From<String> for Source {
    fn from(name: String) -> Self {
        match name.as_str() {
            "texts" => Self::Texts,
            _ => Self::Named(name),
        }
    }
}

/// The length of the sequences that values are of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(untagged)]
pub enum At {
    /// The only one that is recorded of a source.
    #[default]
    Recorded,
    /// Tokens.
    Tokens(usize),
    /// A setting, or the `max` or `first` of one that has several: `length`, `max lengths`.
    Setting(String),
}

/// One of several columns: a quantity's name, or more about it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ColumnSpec {
    /// Under the quantity's own title.
    Plain(String),
    /// From another place, or under another title.
    Placed(Placed),
}

/// A column from a place of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// The quantity.
    pub quantity: String,
    /// Its heading, where it is not the quantity's title.
    #[serde(default)]
    pub title: Option<String>,
    /// Where its values are taken from.
    #[serde(default)]
    pub from: Option<Source>,
    /// The length that they are of.
    #[serde(default)]
    pub at: Option<At>,
    /// What a cell makes of samples.
    #[serde(default)]
    pub make: Make,
    /// How cells are written, where it is not as the quantity's.
    #[serde(default)]
    pub style: Option<Style>,
}

impl ColumnSpec {
    /// The quantity.
    pub fn quantity(&self) -> &str {
        match self {
            Self::Plain(quantity) => quantity,
            Self::Placed(placed) => &placed.quantity,
        }
    }
}

/// What a cell makes of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Make {
    /// Their mean.
    #[default]
    Mean,
    /// The exponential of their mean.
    Exponential,
    /// Median, quartiles and mean of seconds, in milliseconds.
    Milliseconds,
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BlockSpec {
    /// A table with a row for each subject.
    Table(Box<TableSpec>),
    /// Crossovers and fitted powers.
    Growth(GrowthSpec),
    /// Charts.
    Figure(FigureSpec),
    /// What the experiment draws itself.
    Special {
        /// What it calls it.
        name: String,
    },
}

/// A table with a row for each subject: columns of several quantities, or of one `by` something.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// What figures of the report are put into it by.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// How to read it.
    #[serde(default)]
    pub note: String,
    /// The quantities of its columns.
    #[serde(default)]
    pub columns: Vec<ColumnSpec>,
    /// The one quantity of all columns; its `*` is what they are `by`.
    #[serde(default)]
    pub quantity: Option<String>,
    /// `domains`, `parts` of the quantity's name, or a setting or count that has several values.
    #[serde(default)]
    pub by: Option<String>,
    /// Headings of such columns, `{}` being the value; `{} tokens` where nothing is said.
    #[serde(default)]
    pub heading: Option<String>,
    /// What is put behind a subject's id, `{}` being the value of the column.
    #[serde(default)]
    pub suffix: String,
    /// Where values are taken from.
    #[serde(default)]
    pub from: Option<Source>,
    /// The length that they are of.
    #[serde(default)]
    pub at: Option<At>,
    /// Whether rows are arms alone, without what they are compared with.
    #[serde(default)]
    pub arms_only: bool,
    /// What a cell makes of samples.
    #[serde(default)]
    pub make: Make,
    /// How cells are written, where it is not as the quantity's.
    #[serde(default)]
    pub style: Option<Style>,
    /// Whether it is folded away on the page.
    #[serde(default)]
    pub folded: bool,
    /// A setting without which there is no such table.
    #[serde(default)]
    pub when: Option<String>,
    /// Two columns with people's votes for the row's texts over another's.
    #[serde(default)]
    pub votes: Option<VotesSpec>,
}

/// Columns of people's votes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VotesSpec {
    /// The id of the other, a template.
    pub beside: String,
    /// What the column calls it.
    pub label: String,
}

/// From which length on a row is below dense, and how it grows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowthSpec {
    /// What figures of the report are put into it by.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// The quantity in words.
    pub words: String,
    /// What grows.
    pub curves: Vec<CurveSpec>,
}

/// One quantity by length.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurveSpec {
    /// Its name in headings.
    pub title: String,
    /// The quantity.
    pub quantity: String,
    /// Where its values are taken from.
    pub from: String,
    /// Whether the count of multiply-adds is a prediction of it.
    #[serde(default)]
    pub predicted: bool,
}

/// Charts that belong together.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    /// Its file's name without ending.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// How to read it.
    #[serde(default)]
    pub note: String,
    /// The charts.
    #[serde(rename = "panel")]
    pub panels: Vec<PanelSpec>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanelSpec {
    /// What stands above it.
    pub title: String,
    /// What is drawn; its `*` is what lines are `by`.
    pub quantity: String,
    /// What a line goes over: `parts`, or a setting or count with several values. Bars without it.
    #[serde(default)]
    pub by: Option<String>,
    /// Bars once more for each of the `domains`.
    #[serde(default)]
    pub each: bool,
    /// What the horizontal axis is.
    #[serde(default)]
    pub x: String,
    /// The vertical axis.
    #[serde(default)]
    pub scale: ScaleSpec,
    /// What is put behind a subject's id, `{}` being the value of a point.
    #[serde(default)]
    pub suffix: String,
    /// What a point makes of samples.
    #[serde(default)]
    pub make: Make,
    /// Where values are taken from.
    #[serde(default)]
    pub from: Option<Source>,
    /// The length that they are of.
    #[serde(default)]
    pub at: Option<At>,
    /// Without the dense model, whose line would be the axis.
    #[serde(default)]
    pub without_dense: bool,
    /// What values are divided by: 1,048,576 for MiB.
    #[serde(default)]
    pub divided_by: Option<f64>,
}

/// A column of the overview.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadlineSpec {
    /// Its heading.
    pub title: String,
    /// Which way is better, and on what.
    pub note: String,
    /// The quantity.
    pub quantity: String,
    /// What is put behind an arm's id.
    #[serde(default)]
    pub suffix: String,
    /// What a cell makes of samples.
    #[serde(default)]
    pub make: Make,
    /// Where values are taken from.
    #[serde(default)]
    pub from: Option<Source>,
    /// The length that they are of.
    #[serde(default)]
    pub at: Option<At>,
}

impl Layout {
    /// Checks that every quantity that is shown is declared.
    ///
    /// # Errors
    ///
    /// Which is not, and where.
    pub fn check(&self) -> Result<(), String> {
        let shown = |place: &str, quantity: &str| {
            let found = self.quantities.find(quantity);
            found
                .map(|_| ())
                .map_err(|error| format!("{place}: {error}"))
        };
        for one in &self.headlines {
            shown(&format!("headline `{}`", one.title), &one.quantity)?;
        }
        for block in &self.blocks {
            match block {
                BlockSpec::Table(table) => {
                    let place = format!("table `{}`", table.id);
                    let columns = table.columns.iter().map(ColumnSpec::quantity);
                    for quantity in columns.chain(table.quantity.as_deref()) {
                        shown(&place, quantity)?;
                    }
                    if table.columns.is_empty() == (table.quantity.is_none() || table.by.is_none())
                    {
                        return Err(format!(
                            "{place}: give `columns`, or one `quantity` and what it goes `by`"
                        ));
                    }
                }
                BlockSpec::Growth(growth) => {
                    for curve in &growth.curves {
                        shown(&format!("table `{}`", growth.id), &curve.quantity)?;
                    }
                }
                BlockSpec::Figure(figure) => {
                    for panel in &figure.panels {
                        shown(&format!("figure `{}`", figure.id), &panel.quantity)?;
                    }
                }
                BlockSpec::Special { .. } => {}
            }
        }
        Ok(())
    }
}
