//! Every table, figure and paragraph of every experiment, rendered from made-up records and
//! compared with the last version that somebody read; and the overview.
//!
//! `BSBR_BLESS=1 cargo test -p bsbr-report -p xtask --test suite golden` writes the texts again.

use std::path::{Path, PathBuf};

use bsbr_report::experiments;
use bsbr_report::present::layout::BlockSpec;
use bsbr_report::record::Records;
use bsbr_report::render::Report;
use bsbr_report::section::Section;
use bsbr_report::spec::{Overrides, Spec};

use crate::common;
use crate::{hybrid, layers};

fn golden(experiment: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    folder.join(format!("{experiment}.md"))
}

/// A section as Markdown, without where it was run.
fn markdown(spec: &Spec, section: Section) -> String {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("{}.md", section.id);
    let report = Report {
        model: common::record(spec, "unit", Vec::new(), 0).model,
        arms: spec.method.arms.clone(),
        quick: false,
        cite: String::new(),
        answers: Default::default(),
        sections: vec![section],
    };
    report.write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
    text.split("## How it was run").next().unwrap().to_owned()
}

fn section(spec: &Spec) -> Section {
    let experiment = experiments::build(spec).unwrap();
    let of = |records: Records| experiment.render(&records).unwrap();
    match spec.method.experiment.as_str() {
        "similarity" => of(common::similarity(spec, 2)),
        "agreement" => of(common::agreement(spec, 2)),
        "attention-maps" => of(common::attention_maps(spec, 2)),
        "summarisation" => of(common::summarisation(spec, 2)),
        "layers" => layers::made_up(|layer| layers::COSTS[layer]),
        "hybrid" => hybrid::made_up(1.0),
        _ => of(common::made_up(spec, &experiment.subjects())),
    }
}

/// How the headings of declared tables and figures begin: some titles are templates.
fn headings(spec: &Spec) -> Vec<String> {
    let title = |block: &BlockSpec| {
        let title = match block {
            BlockSpec::Table(table) => &table.title,
            BlockSpec::Lengths(table) => &table.title,
            BlockSpec::Growth(growth) => &growth.title,
            BlockSpec::Figure(figure) => &figure.title,
            BlockSpec::Special { .. } => return None,
        };
        Some(format!("\n## {}", title.split('{').next().unwrap()))
    };
    spec.layout.blocks.iter().filter_map(title).collect()
}

/// How a text differs from the last one that somebody read; with `BSBR_BLESS`, it becomes that.
fn difference(path: &Path, text: &str) -> Option<String> {
    if std::env::var_os("BSBR_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines().zip(known.lines());
    let differs = lines.find(|(new, old)| new != old);
    (text != known).then(|| format!("{}: {differs:#?}", path.display()))
}

/// The first screen and the overview of a report in which some experiments are not measured.
#[test]
fn the_overview_reads_as_it_did() {
    let folder = tempfile::tempdir().unwrap();
    common::report().write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("index.md")).unwrap();
    assert_eq!(difference(&golden("index"), &text), None);
}

#[test]
fn sections_read_as_they_did() {
    // Some tables are of baselines alone.
    let full = Overrides {
        full: true,
        baselines: vec!["torch".to_owned()],
        ..Overrides::default()
    };
    let mut others = Vec::new();
    for spec in common::specs(&full) {
        let mut section = section(&spec);
        // Every figure of the report has a table of ours, and a column in it.
        assert_eq!(common::reported().attach(&mut section), [] as [String; 0]);
        let (text, path) = (markdown(&spec, section), golden(&spec.method.experiment));
        for heading in headings(&spec) {
            assert!(
                text.contains(&heading),
                "{}: `{heading}` is not there",
                spec.title
            );
        }
        let lacking = text.lines().find(|line| line.contains("not measured yet"));
        assert_eq!(lacking, None, "{}", spec.title);
        others.extend(difference(&path, &text));
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}
