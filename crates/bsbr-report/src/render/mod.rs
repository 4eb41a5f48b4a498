//! Reports as Markdown files, plots and one page.

pub mod chart;
pub mod colour;
pub mod heatmap;
pub mod scale;
pub mod scatter;

mod inline;
mod markdown;
mod page;
mod svg;
mod walk;

pub(crate) use markdown::{aligned, conclusions, table};

use std::path::{Path, PathBuf};

use bsbr_files::write_file;

use crate::error::ReportError;
use crate::overview::Answers;
use crate::record::ModelInfo;
use crate::section::{Cell, Section, Table};
use crate::spec::ArmSpec;
use crate::style::grouped;

/// Number of colours for arms; they repeat for more arms.
pub const ARM_COLOURS: usize = 8;

/// The page's file.
const PAGE: &str = "index.html";

/// The contents of the page.
#[derive(Debug, Clone)]
pub struct Report {
    /// The model.
    pub model: ModelInfo,
    /// The arms, in the order of the tables.
    pub arms: Vec<ArmSpec>,
    /// Whether the counts are those of `--quick`.
    pub quick: bool,
    /// The citation of the research report.
    pub cite: String,
    /// The default arm in a few numbers, and the verdicts on the report's
    /// conclusions.
    pub answers: Answers,
    /// The sections, in order.
    pub sections: Vec<Section>,
}

impl Report {
    /// Writes Markdown, plots and the page into `folder`; returns the page's path.
    ///
    /// # Errors
    ///
    /// [`ReportError::Output`] if a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ReportError> {
        for (path, bytes) in self.files() {
            write_file(&folder.join(path), &bytes)?;
        }
        Ok(folder.join(PAGE))
    }

    /// Every file of the report, by its path within the folder.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = markdown::files(self);
        all.push((PAGE.into(), self.html().into_bytes()));
        all
    }

    /// The page.
    pub fn html(&self) -> String {
        page::page(self)
    }

    fn title(&self) -> String {
        format!("{} and its conversions", self.model.name)
    }

    /// A sentence about the model.
    fn lead(&self) -> String {
        let model = &self.model;
        let quick = match self.quick {
            true => " **Quick run:** the standard method with few samples.",
            false => "",
        };
        format!(
            "A GPT-2 of {} layers, {} heads and {} dimensions ({:.1} M parameters, {} positions, \
             {} tokens of vocabulary) and its conversions, without training unless stated \
             otherwise.{quick}",
            model.layers,
            model.heads,
            model.hidden_size,
            model.parameters as f64 / 1e6,
            grouped(model.positions as u64),
            grouped(model.vocabulary as u64)
        )
    }
}

/// The reasons of a table's missing cells, each once, with their marks.
struct Footnotes<'a>(Vec<(String, &'a str)>);

impl<'a> Footnotes<'a> {
    fn of(table: &'a Table) -> Self {
        let mut notes: Vec<(String, &str)> = Vec::new();
        for cell in table.rows.iter().flat_map(|row| &row.cells) {
            let Cell::Missing(reason) = cell else {
                continue;
            };
            if !notes.iter().any(|(_, known)| known == reason) {
                let letter = char::from(b'a' + (notes.len() % 26) as u8);
                // a to z, then a1 to z1, and so on.
                let mark = match notes.len() / 26 {
                    0 => letter.to_string(),
                    round => format!("{letter}{round}"),
                };
                notes.push((mark, reason));
            }
        }
        Self(notes)
    }

    /// The mark of a reason.
    fn mark(&self, reason: &str) -> &str {
        let mut notes = self.0.iter();
        let found = notes.find(|(_, known)| *known == reason);
        found.map_or("", |(mark, _)| mark.as_str())
    }
}
