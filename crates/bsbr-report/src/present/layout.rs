//! The contents of a section, as declared in a specification.

use serde::Deserialize;

use crate::quantity::Quantities;
use crate::render::scale::ScaleSpec;
use crate::style::Style;

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
#[serde(untagged, deny_unknown_fields)]
pub enum Paragraph {
    /// Unconditional.
    Always(String),
    /// One if a setting exists and is not empty, otherwise another or none.
    When {
        /// The setting.
        when: String,
        /// With it.
        text: String,
        /// Without it.
        #[serde(default)]
        otherwise: Option<String>,
    },
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

impl Source {
    /// The name in specifications.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Texts => "texts",
            Self::Named(name) => name,
        }
    }
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
#[serde(from = "Length")]
pub enum At {
    /// The only recorded length of a source: `recorded`.
    #[default]
    Recorded,
    /// Tokens.
    Tokens(usize),
    /// A setting: `length`.
    Setting(String),
    /// The largest of a setting or count with several values: `max lengths`.
    Max(String),
    /// The first of these: `first lengths`.
    First(String),
}

/// A length in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Length {
    Tokens(usize),
    Named(String),
}

impl From<Length> for At {
    fn from(length: Length) -> Self {
        match length {
            Length::Tokens(tokens) => Self::Tokens(tokens),
            Length::Named(name) => match name.split_once(' ') {
                _ if name == "recorded" => Self::Recorded,
                Some(("max", name)) => Self::Max(name.to_owned()),
                Some(("first", name)) => Self::First(name.to_owned()),
                _ => Self::Setting(name),
            },
        }
    }
}

/// The variable of several columns or points.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum By {
    /// The domains of texts: `domains`.
    Domains,
    /// What a `*` in the quantity's name stands for: `parts`.
    Parts,
    /// The values of a setting or count.
    Values(String),
}

impl From<String> for By {
    fn from(name: String) -> Self {
        match name.as_str() {
            "domains" => Self::Domains,
            "parts" => Self::Parts,
            _ => Self::Values(name),
        }
    }
}

/// A row's number together with those of other models on the same samples. Ids are templates, with
/// `{row}` for the row's id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// The first minus the second.
    Difference([String; 2]),
    /// The share of the gap between the first and the last that the second has closed.
    Closed([String; 3]),
    /// The row's mean ÷ that of the table's first row of the same colour.
    ByFirst,
    /// The inverse.
    FirstBy,
}

/// One of several columns: the mean of a quantity, or more details.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ColumnSpec {
    /// A quantity.
    Quantity(String),
    /// Values.
    Values(ValuesSpec),
}

/// Values of a quantity, and their format.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValuesSpec {
    /// The quantity.
    pub quantity: String,
    /// Its title, if it differs from the quantity's.
    pub title: Option<String>,
    /// The source of its values.
    pub from: Option<Source>,
    /// The length of its values.
    pub at: Option<At>,
    /// How a cell summarises samples.
    pub make: Option<Statistic>,
    /// The format of cells, if it differs from the quantity's.
    pub style: Option<Style>,
    /// Other models in its numbers.
    pub beside: Option<Comparison>,
    /// The suffix of a row's id, a template with `{}` for the value that it is `by`.
    pub suffix: String,
}

impl ValuesSpec {
    /// Values of a quantity, with the defaults of their table.
    pub fn of(quantity: &str) -> Self {
        Self {
            quantity: quantity.to_owned(),
            ..Self::default()
        }
    }
}

/// How a cell summarises samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
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
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableSpec {
    /// The id that figures of the report refer to.
    pub id: String,
    /// Its title.
    pub title: String,
    /// A note for the reader.
    pub note: String,
    /// The quantities of its columns.
    pub columns: Vec<ColumnSpec>,
    /// The numbers of all columns, as far as columns do not differ; `by` replaces the quantity's
    /// `*`.
    #[serde(flatten)]
    pub of: ValuesSpec,
    /// What distinguishes columns of one quantity.
    pub by: Option<By>,
    /// Titles of such columns, with `{}` for the value; `{} tokens` by default.
    pub heading: Option<String>,
    /// The title of an additional column: the columns whose whole intervals are above or below 0.
    pub changes: Option<String>,
    /// A setting or count with several values: there is a table for each above 0, the last one
    /// first and the others collapsed. Templates have it as `{value}`.
    pub each: Option<String>,
    /// The experiment's own rows of this name, in place of its arms and baselines.
    pub rows: Option<String>,
    /// The title of the column of row heads; `Arm` by default.
    pub corner: Option<String>,
    /// Whether the dense model has no row.
    pub without_dense: bool,
    /// Whether rows are only arms, without baselines.
    pub arms_only: bool,
    /// Whether rows are only those that were measured there.
    pub recorded_only: bool,
    /// Whether it is collapsed on the page.
    pub folded: bool,
    /// A setting that the table requires.
    pub when: Option<String>,
    /// Two columns with people's votes for the row's texts over another's.
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
    pub make: Statistic,
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
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FigureSpec {
    /// Its file name without extension.
    pub id: String,
    /// Its title.
    pub title: String,
    /// A note for the reader.
    pub note: String,
    /// The charts.
    #[serde(rename = "panel")]
    pub panels: Vec<PanelSpec>,
    /// Scatter charts with a point for each row, after the others.
    #[serde(rename = "scatter")]
    pub scatters: Vec<ScatterSpec<ValuesSpec>>,
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
    /// The axis upwards, if it is not the default linear one.
    #[serde(default)]
    pub y_scale: Option<ScaleSpec>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PanelSpec {
    /// Its title and its numbers; `by` replaces the quantity's `*`.
    #[serde(flatten)]
    pub of: ValuesSpec,
    /// The variable of lines. Without it and without `lines`, the chart has bars.
    pub by: Option<By>,
    /// The experiment's own lines of this name: a chart for each of their groups, with `{row}` for
    /// the group in its title.
    pub lines: Option<String>,
    /// Whether the values of such lines are evenly spaced; otherwise their logarithms are.
    pub even: bool,
    /// Additional bars for each of the `domains`.
    pub each: bool,
    /// The name of the horizontal axis.
    pub x: String,
    /// The vertical axis.
    pub scale: ScaleSpec,
    /// Whether to omit the dense model, whose line would be the axis.
    pub without_dense: bool,
    /// The divisor of values: 1,048,576 for MiB.
    pub divided_by: Option<f64>,
}

/// A column of the overview.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadlineSpec {
    /// Which direction is better, and the data.
    pub note: String,
    /// Its title and its numbers.
    #[serde(flatten)]
    pub of: ValuesSpec,
}

impl Layout {
    /// Checks that every table has what it needs.
    ///
    /// # Errors
    ///
    /// The table, and what it lacks.
    pub fn check(&self) -> Result<(), String> {
        for block in &self.blocks {
            let BlockSpec::Table(one) = block else {
                continue;
            };
            let by_one = [
                one.columns.is_empty(),
                one.by.is_some(),
                !one.of.quantity.is_empty(),
            ];
            let lacks = match by_one {
                _ if one.id.is_empty() || one.title.is_empty() => "an `id` and a `title`",
                [true, true, true] | [false, false, false] => continue,
                _ => "`columns`, or one `quantity` with `by`",
            };
            return Err(format!("table `{}`: give {lacks}", one.id));
        }
        Ok(())
    }
}
