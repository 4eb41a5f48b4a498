//! The contents of a section, as declared in a specification.

use serde::Deserialize;

use crate::quantity::Quantities;
use crate::render::scale::ScaleSpec;
use crate::section::Style;

/// A section: paragraphs on the method, headlines, and blocks in order.
///
/// Texts and titles are [templates](crate::present::words).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Layout {
    /// The declared quantities.
    pub quantities: Quantities,
    /// The default source of values.
    pub from: Source,
    /// The default length of values.
    pub at: At,
    /// Paragraphs on the method.
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
    /// Unconditional.
    Always(String),
    /// One if a setting exists and is not empty, otherwise another or none.
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

/// The source of values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "String")]
pub enum Source {
    /// Texts of all domains.
    #[default]
    Texts,
    /// One source, by its name in records.
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

/// The length of the sequences of values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(untagged)]
pub enum At {
    /// The only recorded length of a source.
    #[default]
    Recorded,
    /// Tokens.
    Tokens(usize),
    /// A setting, or the `max` or `first` of one with several values: `length`, `max lengths`.
    Setting(String),
}

/// One of several columns: a quantity's name, or more details.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ColumnSpec {
    /// With the quantity's own title.
    Plain(String),
    /// From another source, or with another title.
    Placed(Placed),
}

/// A column with its own source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// The quantity.
    pub quantity: String,
    /// Its title, if it differs from the quantity's.
    #[serde(default)]
    pub title: Option<String>,
    /// The source of its values.
    #[serde(default)]
    pub from: Option<Source>,
    /// The length of its values.
    #[serde(default)]
    pub at: Option<At>,
    /// How a cell summarises samples.
    #[serde(default)]
    pub make: Make,
    /// The format of cells, if it differs from the quantity's.
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

/// How a cell summarises samples.
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
    /// Median and quartiles.
    Median,
    /// Median, quartiles, and the 95 % bootstrap interval of the median.
    Ratio,
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BlockSpec {
    /// A table with one row per subject.
    Table(Box<TableSpec>),
    /// Tables by recorded lengths, with one row per recorded subject and quantity.
    Lengths(LengthsSpec),
    /// Crossovers and fitted exponents.
    Growth(GrowthSpec),
    /// Charts.
    Figure(FigureSpec),
    /// A block drawn by the experiment's own code.
    Special {
        /// Its name.
        name: String,
    },
}

/// A table with one row per subject: columns of several quantities, or of one quantity `by`
/// something.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// The id that figures of the report refer to.
    pub id: String,
    /// Its title.
    pub title: String,
    /// A note for the reader.
    #[serde(default)]
    pub note: String,
    /// The quantities of its columns.
    #[serde(default)]
    pub columns: Vec<ColumnSpec>,
    /// The quantity of all columns; `by` replaces its `*`.
    #[serde(default)]
    pub quantity: Option<String>,
    /// `domains`, `parts` of the quantity's name, or a setting or count with several values.
    #[serde(default)]
    pub by: Option<String>,
    /// Titles of such columns, with `{}` for the value; `{} tokens` by default.
    #[serde(default)]
    pub heading: Option<String>,
    /// The suffix of a subject's id, with `{}` for the value of the column.
    #[serde(default)]
    pub suffix: String,
    /// The source of values.
    #[serde(default)]
    pub from: Option<Source>,
    /// The length of values.
    #[serde(default)]
    pub at: Option<At>,
    /// Whether rows are only arms, without baselines.
    #[serde(default)]
    pub arms_only: bool,
    /// Whether rows are only those that were measured there.
    #[serde(default)]
    pub recorded_only: bool,
    /// How a cell summarises samples.
    #[serde(default)]
    pub make: Make,
    /// The format of cells, if it differs from the quantity's.
    #[serde(default)]
    pub style: Option<Style>,
    /// Whether it is collapsed on the page.
    #[serde(default)]
    pub folded: bool,
    /// A setting that the table requires.
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
    /// Its name in the column title.
    pub label: String,
}

/// A table with a column for each length recorded of a source, and a row for each subject and
/// quantity recorded there. Without rows it is omitted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthsSpec {
    /// Its id.
    pub id: String,
    /// Its title; `{row}` is the subject of a table for each.
    pub title: String,
    /// A note for the reader.
    #[serde(default)]
    pub note: String,
    /// The source of values.
    pub from: String,
    /// The quantities of its rows, each with all subjects before the next.
    pub rows: Vec<RowsSpec>,
    /// Whether each subject has its own table, with the rows in the order of their last column.
    #[serde(default)]
    pub each: bool,
}

/// The rows of one quantity.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsSpec {
    /// The quantity; a `*` in it is any part.
    pub quantity: String,
    /// Heads of rows, with `{row}` for the subject and `{part}` for the part.
    #[serde(default = "by_subject")]
    pub head: String,
    /// How a cell summarises samples.
    #[serde(default)]
    pub make: Make,
    /// A quantity of whose median the cell's is a share, shown in parentheses in place of a spread.
    #[serde(default)]
    pub share_of: Option<String>,
}

fn by_subject() -> String {
    "{row}".to_owned()
}

/// The length from which on a row is below dense, and the exponents of growth.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowthSpec {
    /// The id that figures of the report refer to.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The quantity in words.
    pub words: String,
    /// The curves.
    pub curves: Vec<CurveSpec>,
}

/// One quantity by length.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurveSpec {
    /// Its name in column titles.
    pub title: String,
    /// The quantity.
    pub quantity: String,
    /// The source of its values.
    pub from: String,
    /// Whether the count of multiply-adds predicts it.
    #[serde(default)]
    pub predicted: bool,
}

/// A group of charts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FigureSpec {
    /// Its file name without extension.
    pub id: String,
    /// Its title.
    pub title: String,
    /// A note for the reader.
    #[serde(default)]
    pub note: String,
    /// The charts.
    #[serde(default, rename = "panel")]
    pub panels: Vec<PanelSpec>,
    /// Scatter charts with a point for each row, after the others.
    #[serde(default, rename = "scatter")]
    pub scatters: Vec<ScatterSpec<Placed>>,
}

/// A scatter chart of two numbers of each row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScatterSpec<N> {
    /// Its title.
    pub title: String,
    /// The horizontal coordinate.
    pub x: N,
    /// The vertical coordinate.
    pub y: N,
    /// The horizontal axis, if it is not the default linear one.
    #[serde(default)]
    pub x_scale: Option<ScaleSpec>,
    /// The axis upwards.
    #[serde(default)]
    pub y_scale: Option<ScaleSpec>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanelSpec {
    /// Its title.
    pub title: String,
    /// The quantity; `by` replaces its `*`.
    pub quantity: String,
    /// The variable of lines: `parts`, or a setting or count with several values. Without it, the
    /// chart has bars.
    #[serde(default)]
    pub by: Option<String>,
    /// Additional bars for each of the `domains`.
    #[serde(default)]
    pub each: bool,
    /// The name of the horizontal axis.
    #[serde(default)]
    pub x: String,
    /// The vertical axis.
    #[serde(default)]
    pub scale: ScaleSpec,
    /// The suffix of a subject's id, with `{}` for the value of a point.
    #[serde(default)]
    pub suffix: String,
    /// How a point summarises samples.
    #[serde(default)]
    pub make: Make,
    /// The source of values.
    #[serde(default)]
    pub from: Option<Source>,
    /// The length of values.
    #[serde(default)]
    pub at: Option<At>,
    /// Whether to omit the dense model, whose line would be the axis.
    #[serde(default)]
    pub without_dense: bool,
    /// The divisor of values: 1,048,576 for MiB.
    #[serde(default)]
    pub divided_by: Option<f64>,
}

/// A column of the overview.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadlineSpec {
    /// Its title.
    pub title: String,
    /// Which direction is better, and the data.
    pub note: String,
    /// The quantity.
    pub quantity: String,
    /// The suffix of an arm's id.
    #[serde(default)]
    pub suffix: String,
    /// How a cell summarises samples.
    #[serde(default)]
    pub make: Make,
    /// The source of values.
    #[serde(default)]
    pub from: Option<Source>,
    /// The length of values.
    #[serde(default)]
    pub at: Option<At>,
}

impl Layout {
    /// Checks that every shown quantity is declared.
    ///
    /// # Errors
    ///
    /// The undeclared quantity, and where it is used.
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
                            "{place}: give `columns`, or one `quantity` with `by`"
                        ));
                    }
                }
                BlockSpec::Lengths(table) => {
                    for row in &table.rows {
                        for quantity in [Some(&row.quantity), row.share_of.as_ref()] {
                            let place = format!("table `{}`", table.id);
                            quantity.map_or(Ok(()), |quantity| shown(&place, quantity))?;
                        }
                    }
                }
                BlockSpec::Growth(growth) => {
                    for curve in &growth.curves {
                        shown(&format!("table `{}`", growth.id), &curve.quantity)?;
                    }
                }
                BlockSpec::Figure(figure) => {
                    let panels = figure.panels.iter().map(|panel| &panel.quantity);
                    let axes = figure.scatters.iter().flat_map(|one| [&one.x, &one.y]);
                    for quantity in panels.chain(axes.map(|axis| &axis.quantity)) {
                        shown(&format!("figure `{}`", figure.id), quantity)?;
                    }
                }
                BlockSpec::Special { .. } => {}
            }
        }
        Ok(())
    }
}
