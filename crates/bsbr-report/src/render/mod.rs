//! Sections as Markdown files, plots and one page.

pub mod chart;
pub mod colour;
pub mod heatmap;
pub mod scale;
pub mod scatter;

mod aligned;
mod inline;
mod markdown;
mod page;
mod pieces;
mod svg;
mod table;

pub(crate) use aligned::aligned;
pub(crate) use markdown::{conclusions, table};

use std::path::{Path, PathBuf};

use bsbr_files::write_file;

use crate::error::ReportError;
use crate::overview::Answers;
use crate::present::subject::Subject;
use crate::record::ModelInfo;
use crate::render::pieces::{Part, Piece};
use crate::section::{Cell, Column, Figure, Picture, Section, Table};
use crate::spec::ArmSpec;

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
        let mut all = Vec::new();
        let mut plots = |file: &str, part: &Part<'_>| {
            for piece in &part.pieces {
                let Piece::Figure(figure) = piece else {
                    continue;
                };
                let drawn = files(file, figure).into_iter();
                all.extend(drawn.map(|(name, bytes)| (Path::new("plots").join(name), bytes)));
            }
        };
        for part in pieces::front(self) {
            plots("index", &part);
        }
        let mut texts = Vec::new();
        for section in &self.sections {
            let part = pieces::section(section);
            plots(part.id, &part);
            let text = markdown::file(&part);
            texts.push((PathBuf::from(format!("{}.md", part.id)), text.into_bytes()));
        }
        all.append(&mut texts);
        all.push((
            PathBuf::from("index.md"),
            markdown::index(self).into_bytes(),
        ));
        all.push((PathBuf::from(PAGE), self.html().into_bytes()));
        all
    }

    /// The page.
    pub fn html(&self) -> String {
        page::page(self)
    }

    /// One row per arm, with the headline numbers of all sections.
    pub(crate) fn glance(&self) -> Table {
        let headlines: Vec<_> = self.sections.iter().flat_map(|s| &s.headlines).collect();
        let rows = Subject::arms(&self.arms).into_iter().map(|arm| {
            let cells = headlines.iter().map(|one| match one.cells.get(&arm.id) {
                // The sections show the spread of the numbers.
                Some(Cell::Measured(found, style)) => Cell::Number(found.mean, *style),
                Some(cell) => cell.clone(),
                None => Cell::Missing("not an arm of that experiment".to_owned()),
            });
            arm.row(cells.collect())
        });
        let notes: Vec<String> = headlines
            .iter()
            .map(|one| format!("{}: {}.", one.title, one.note))
            .collect();
        Table {
            title: "Every arm at a glance".to_owned(),
            note: notes.join(" "),
            corner: "Arm".to_owned(),
            columns: headlines
                .iter()
                .map(|one| Column {
                    better: one.better,
                    ..Column::from(one.title.as_str())
                })
                .collect(),
            rows: rows.collect(),
            ..Table::default()
        }
    }
}

/// Files of a figure: its SVG pictures together in one, each PNG separately.
fn files(section: &str, figure: &Figure) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = figure
        .pictures
        .iter()
        .enumerate()
        .filter_map(|(index, picture)| match picture {
            Picture::Png { bytes, .. } => Some((png_name(section, figure, index), bytes.clone())),
            Picture::Svg { .. } => None,
        })
        .collect();
    if let Some(svg) = svg::sheet(figure) {
        files.push((svg_name(section, figure), svg.into_bytes()));
    }
    files
}

fn svg_name(section: &str, figure: &Figure) -> String {
    format!("{section}-{}.svg", figure.id)
}

fn png_name(section: &str, figure: &Figure, index: usize) -> String {
    format!("{section}-{}-{:02}.png", figure.id, index + 1)
}
