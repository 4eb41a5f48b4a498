//! A hand-written page with a place for tables rendered from records.

use std::path::{Path, PathBuf};

use bsbr_files::write_file;

use crate::bench::goals;
use crate::bench::record::BenchRecord;
use crate::bench::select::Measured;
use crate::bench::tables::tables;
use crate::error::ReportError;
use crate::spec::ArmSpec;

/// The line before the tables.
pub const BEGIN: &str = "<!-- measured: begin -->";
/// The line after them.
pub const END: &str = "<!-- measured: end -->";

/// The records of a page: those in the folder beside it with its name; empty without a folder.
///
/// # Errors
///
/// [`ReportError`] if the folder or a record cannot be read.
pub fn records(page: &Path) -> Result<Measured, ReportError> {
    let folder = page.with_extension("");
    let listing = match std::fs::read_dir(&folder) {
        Ok(listing) => listing,
        // Before the first record there is no folder, and goals are undecided.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Measured::default());
        }
        Err(source) => {
            return Err(ReportError::Read {
                path: folder,
                source,
            });
        }
    };
    let mut paths: Vec<PathBuf> = listing
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    paths.sort();
    let records = paths.iter().map(|path| BenchRecord::read(path));
    Ok(Measured::new(records.collect::<Result<_, _>>()?))
}

/// The tables of a page, separately for each device and model.
pub fn measured(measured: &Measured) -> String {
    let models = measured.records().iter().map(|record| &record.model.name);
    let several = models.collect::<std::collections::BTreeSet<_>>().len() > 1;
    let place = |record: &BenchRecord| {
        let place = record.place.describe(&record.machine);
        match several {
            true => format!("{place}: {}", record.model.name),
            false => place,
        }
    };
    let mut places: Vec<(bool, String)> = Vec::new();
    for record in measured.records() {
        let new = (record.place.is_accelerator(), place(record));
        if !places.contains(&new) {
            places.push(new);
        }
    }
    if places.len() < 2 {
        return of_one_place(measured);
    }
    // CPUs first.
    places.sort_by_key(|(accelerator, _)| *accelerator);
    let sections = places.iter().map(|(_, name)| {
        let tables = of_one_place(&measured.only(|record| place(record) == *name));
        format!("## On {name}\n\n{tables}")
    });
    sections.collect::<Vec<_>>().join("\n")
}

/// The tables of one device, followed by the commands of its records.
fn of_one_place(measured: &Measured) -> String {
    let mut text = String::new();
    // The goals apply to CPUs.
    let elsewhere = |record: &BenchRecord| !record.place.is_default();
    if !measured.records().iter().any(elsewhere) {
        text.push_str(&format!("{}\n", goals::table(measured).markdown()));
    }
    for table in tables(measured) {
        text.push_str(&table.markdown());
        text.push('\n');
    }
    text.push_str("### Records\n\n");
    if measured.records().is_empty() {
        text.push_str("None yet.\n");
    }
    for record in measured.records() {
        let commit = record.commit.as_ref();
        let commit = commit.map_or_else(|| "unknown".to_owned(), |commit| commit.describe());
        text.push_str(&format!(
            "- {}, commit {commit}, {}, {} threads, {} rounds: `{}`\n",
            record.date,
            record.machine.describe(),
            record.threads,
            record.runs,
            record.command
        ));
    }
    text
}

/// The page with newly rendered tables, and its current content; `arms` are those in the records.
///
/// # Errors
///
/// [`ReportError`] if the page or a record cannot be read, or the page has no place for tables.
pub fn rendered(page: &Path, arms: &[ArmSpec]) -> Result<[String; 2], ReportError> {
    let text = crate::spec::read(page)?;
    let split = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let Some((before, after)) = split else {
        return Err(ReportError::Page {
            path: page.to_owned(),
            begin: BEGIN,
            end: END,
        });
    };
    let tables = measured(&records(page)?.with_arms(arms.to_vec()));
    Ok([format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"), text])
}

/// Writes the page with newly rendered tables.
///
/// # Errors
///
/// Same as [`rendered`], and if the page cannot be written.
pub fn render(page: &Path, arms: &[ArmSpec]) -> Result<(), ReportError> {
    let [new, _] = rendered(page, arms)?;
    Ok(write_file(page, new.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Place;
    use crate::bench::record::tests::record;

    #[test]
    fn only_the_place_between_the_marks_is_rendered() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        let record = record("2026-01-01", &[("dense", &[3.0]), ("torch-sdpa", &[2.0])]);
        record.write(&folder.path().join("page/one.json")).unwrap();
        std::fs::write(
            &page,
            format!("# Title\n\n{BEGIN}\nold\n{END}\n\nThe end.\n"),
        )
        .unwrap();
        render(&page, &[]).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(
            text.starts_with("# Title\n") && text.ends_with("The end.\n"),
            "{text}"
        );
        assert!(
            !text.contains("\nold\n") && text.contains("missed by 50.0 %"),
            "{text}"
        );
        let [new, old] = rendered(&page, &[]).unwrap();
        assert_eq!(new, old, "rendering a rendered page changes nothing");

        let mut other = record.clone();
        other.machine.cpu = Some("Another".to_owned());
        other.write(&folder.path().join("page/two.json")).unwrap();
        let [both, _] = rendered(&page, &[]).unwrap();
        let sections = both.matches("## On ").count();
        assert_eq!(
            (sections, both.matches("### Goals").count()),
            (2, 2),
            "{both}"
        );

        // A GPU has its own section, after the CPUs and without their goals.
        other.place = Place::new("wgpu", "f16");
        other.place.accelerator = Some("A GPU".to_owned());
        other.date = "2025-01-01".to_owned();
        other.write(&folder.path().join("page/three.json")).unwrap();
        let [all, _] = rendered(&page, &[]).unwrap();
        let (processors, gpu) = all.split_once("## On A GPU, by wgpu, f16").unwrap();
        assert_eq!(processors.matches("## On ").count(), 2, "{all}");
        assert_eq!(processors.matches("### Goals").count(), 2, "{all}");
        assert!(!gpu.contains("### Goals"), "{all}");

        std::fs::write(&page, "no place").unwrap();
        let error = render(&page, &[]).unwrap_err().to_string();
        assert!(error.contains(BEGIN), "{error}");
    }
}
