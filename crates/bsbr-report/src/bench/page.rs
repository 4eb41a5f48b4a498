//! A hand-written page with a place for goals and tables rendered from records.

use std::collections::BTreeSet;
use std::path::Path;

use bsbr_files::write_file;
use serde::Deserialize;

use crate::bench::Place;
use crate::bench::benchmark::SOURCES;
use crate::bench::derived::newest;
use crate::bench::names::label;
use crate::bench::record::{BENCH, settings};
use crate::error::ReportError;
use crate::experiment::{Experiment, Measured, Unit, Units};
use crate::lab::Lab;
use crate::overview::{self, Conclusion, Overview, Recorded};
use crate::present::layout::{BlockSpec, Layout};
use crate::present::names::{self, Names};
use crate::present::subject::Subject;
use crate::quantity::Quantities;
use crate::record::{Record, Records, each_once};
use crate::render;
use crate::reported::Reported;
use crate::section::{Block, Table, Verdict};
use crate::spec::{self, Method, Spec, arms_once, parse, spec_error};
use crate::store;

/// The line before the tables.
pub const BEGIN: &str = "<!-- measured: begin -->";
/// The line after them.
pub const END: &str = "<!-- measured: end -->";

/// What that file may use of a benchmark.
const NAMES: Names = &[("from", &SOURCES)];

/// The file of goals and tables, `assets/performance.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    quantities: Quantities,
    #[serde(rename = "block")]
    blocks: Vec<BlockSpec>,
    #[serde(rename = "conclusion")]
    conclusions: Vec<Conclusion>,
}

/// The goals and tables of a page.
#[derive(Debug, Clone)]
pub struct Page {
    goals: Overview,
    layout: Layout,
}

/// The records of one place: what its tables show.
struct Shown {
    spec: Spec,
    subjects: Vec<Subject>,
}

impl AsRef<Spec> for Shown {
    fn as_ref(&self) -> &Spec {
        &self.spec
    }
}

impl Experiment for Shown {
    // A benchmark measures, not a lab.
    fn units(&self, _: &Lab) -> Units {
        Ok(Vec::new())
    }

    fn run_unit(&self, _: &Unit, _: &Lab) -> Measured {
        Ok(Vec::new())
    }

    fn subjects(&self) -> Vec<Subject> {
        self.subjects.clone()
    }

    fn part_name(&self, _: &str, part: &str, _: bool) -> Option<String> {
        Some(label(part))
    }
}

/// The records of a page: those in the folder beside it with its name; empty without a folder.
///
/// # Errors
///
/// [`ReportError`] if the folder or a record cannot be read.
pub fn records(page: &Path) -> Result<Vec<Record>, ReportError> {
    let mut records = store::read_all(&page.with_extension(""))?;
    records.sort_by(|a, b| a.run.date.cmp(&b.run.date));
    Ok(records)
}

impl Page {
    /// Reads `assets/performance.toml`.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if it cannot be read, a statement has no limit, or a quantity is not
    /// declared.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let text = spec::read(path)?;
        let file: File = parse(path, &text)?;
        let parts: toml::Table = parse(path, &text)?;
        let parts = parts.into();
        let method = Method {
            settings: settings(0),
            ..Method::default()
        };
        let declared = file.quantities.check("", &parts);
        let declared = declared.and_then(|()| names::check(NAMES, "", &parts, &method));
        let page = Self {
            goals: Overview {
                conclusions: file.conclusions,
                ..Overview::default()
            },
            layout: Layout {
                quantities: file.quantities,
                blocks: file.blocks,
                ..Layout::default()
            },
        };
        let checked = declared.and_then(|()| page.layout.check());
        checked.map_err(|message| spec_error(path, message))?;
        page.goals.check_statements(path)?;
        for goal in page
            .goals
            .conclusions
            .iter()
            .flat_map(|one| &one.statements)
        {
            let checked = goal.measure.check(&page.layout.quantities, NAMES);
            checked.map_err(|message| spec_error(path, format!("“{}”: {message}", goal.text)))?;
        }
        Ok(page)
    }

    /// The specification of the newest of some records, with the arms of all.
    fn spec(&self, records: &[Record]) -> Spec {
        let newest_first = records.iter().rev();
        let arms = arms_once(newest_first.flat_map(|one| &one.method.arms));
        let newest = records.last().map(|record| record.method.clone());
        let unknown = || Method {
            experiment: BENCH.to_owned(),
            ..Method::default()
        };
        let method = newest.unwrap_or_else(unknown);
        Spec {
            method: Method { arms, ..method },
            layout: self.layout.clone(),
            ..Spec::default()
        }
    }

    /// The goals and tables, separately for each device and model.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if records cannot be drawn.
    pub fn markdown(&self, records: &[Record]) -> Result<String, ReportError> {
        let models: BTreeSet<&str> = records.iter().map(|one| one.model.name.as_str()).collect();
        let name = |record: &Record| {
            let place = Place::of(record).describe(&record.run.machine);
            match models.len() {
                0 | 1 => place,
                _ => format!("{place}: {}", record.model.name),
            }
        };
        let place = |record: &Record| (Place::of(record).is_accelerator(), name(record));
        let mut places = each_once(records.iter().map(place));
        if places.len() < 2 {
            return self.of_one_place(records);
        }
        // CPUs first.
        places.sort_by_key(|(accelerator, _)| *accelerator);
        let mut sections = Vec::new();
        for (_, place) in places {
            let own = records.iter().filter(|record| name(record) == place);
            let own: Vec<Record> = own.cloned().collect();
            sections.push(format!("## On {place}\n\n{}", self.of_one_place(&own)?));
        }
        Ok(sections.join("\n"))
    }

    /// The goals and tables of one device, followed by the commands of its records.
    fn of_one_place(&self, records: &[Record]) -> Result<String, ReportError> {
        let mut text = String::new();
        // The goals apply to CPUs.
        if records.iter().all(|record| Place::of(record).is_default()) {
            text.push_str(&self.goals(records));
        }
        text.push_str(&self.tables(records)?);
        text.push_str("### Records\n\n");
        if records.is_empty() {
            text.push_str("None yet.\n");
        }
        for Record { run, method, .. } in records {
            let commit = run.commit.as_ref();
            let commit = commit.map_or_else(|| "unknown".to_owned(), |commit| commit.describe());
            let rounds = method.counts.get("runs").and_then(toml::Value::as_integer);
            text.push_str(&format!(
                "- {}, commit {commit}, {}, {} threads, {} rounds: `{}`\n",
                run.date,
                run.machine.describe(),
                run.threads,
                rounds.unwrap_or_default(),
                run.command
            ));
        }
        Ok(text)
    }

    /// The goals, and what the records say of them; empty if they measure none of it.
    fn goals(&self, records: &[Record]) -> String {
        let (spec, records) = (&self.spec(records), &as_one(records));
        let sources = [Recorded { spec, records }];
        let mut found = overview::answer(&self.goals, &sources, &Reported::default(), &[]);
        let mut all = found.conclusions.iter().flat_map(|one| &one.findings);
        if records.first().is_some() && all.all(Verdict::is_open) {
            return String::new();
        }
        let all = found.conclusions.iter_mut();
        // The tables are on the same page.
        all.flat_map(|one| &mut one.findings)
            .for_each(|one| one.section = None);
        format!("### Goals\n\n{}", render::conclusions(&found.conclusions))
    }

    /// The tables of records of one place.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if records cannot be drawn.
    pub fn tables(&self, records: &[Record]) -> Result<String, ReportError> {
        let (spec, records) = (self.spec(records), as_one(records));
        let ids = each_once(records.measurements().map(|one| &one.arm)).into_iter();
        let subjects = ids.map(|id| Subject::other(id, &label(id))).collect();
        let shown: &dyn Experiment = &Shown { spec, subjects };
        let section = shown.render(&records)?;
        let tables = section.blocks.iter().filter_map(|block| match block {
            Block::Table(table) => Some(table),
            _ => None,
        });
        let markdown =
            |table: &Table| format!("### {}\n\n{}\n", table.title, render::aligned(table));
        Ok(tables.map(markdown).collect())
    }

    /// A page with newly rendered tables, and its current content.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the page or a record cannot be read, or the page has no place for tables.
    pub fn rendered(&self, page: &Path) -> Result<[String; 2], ReportError> {
        let text = spec::read(page)?;
        let split = text.split_once(BEGIN).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(END)?;
            Some((before, after))
        });
        let Some((before, after)) = split else {
            let missing = format!("there is no line `{BEGIN}` followed by a line `{END}`");
            return Err(spec_error(page, missing + ", which enclose the tables"));
        };
        let tables = self.markdown(&records(page)?)?;
        Ok([format!("{before}{BEGIN}\n\n{tables}\n{END}{after}"), text])
    }

    /// Writes a page with newly rendered tables.
    ///
    /// # Errors
    ///
    /// Same as [`Self::rendered`], and if the page cannot be written.
    pub fn write(&self, page: &Path) -> Result<(), ReportError> {
        let [new, _] = self.rendered(page)?;
        Ok(write_file(page, new.as_bytes())?)
    }
}

/// The newest measurements of records of one place, as those of the newest record.
fn as_one(records: &[Record]) -> Records {
    let newest_record = records.last().cloned();
    Records::new(Vec::from_iter(newest_record.map(|last| Record {
        measurements: newest(records),
        ..last
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::derived::tests::{record, rounds};
    use crate::record::Measurement;

    fn declared() -> Page {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
        Page::read(&assets.join("performance.toml")).unwrap()
    }

    /// Forward passes of 16 tokens, twice as fast in PyTorch.
    fn passes() -> Record {
        let mut all = rounds(("model", "dense", 16), "seconds", &[2.0, 4.0]);
        all.extend(rounds(("model", "torch-sdpa", 16), "seconds", &[1.0, 2.0]));
        let failed = Measurement::new("torch-eager", "model", 16, 0);
        all.push(failed.without_values("no torch"));
        record("2026-01-01", all)
    }

    /// The row of a table, or of a goal, that contains a text.
    fn row<'a>(markdown: &'a str, text: &str) -> &'a str {
        let mut rows = markdown.lines().filter(|line| line.starts_with('|'));
        rows.find(|line| line.contains(text)).unwrap_or_default()
    }

    /// Two rounds of every quantity that records of benchmarks have, with values of no meaning.
    fn everything() -> Record {
        let cases = [
            "dense",
            "dense, int8",
            "moments",
            "torch-sdpa",
            "ctranslate2, int8",
            "matrix",
            "copy",
        ];
        let timed: &[&str] = &["seconds", "work"];
        let parts: &[&str] = &["part.head", "part.whole"];
        let decoding: &[&str] = &["seconds", "work", "token", "prefill", "pass", "cache"];
        let mut all = Vec::new();
        for (source, quantities, lengths) in [
            ("model", timed, [128, 512]),
            ("attention", timed, [128, 512]),
            ("gradients", timed, [128, 512]),
            ("memory", &["growth"], [128, 512]),
            (
                "first-token",
                &["whole", "loaded", "peak", "file"],
                [128; 2],
            ),
            ("decode", decoding, [500, 1000]),
            ("accuracy", &["error"], [128, 512]),
            ("training", &["seconds"], [256; 2]),
            ("profile", parts, [128, 512]),
            ("token-profile", parts, [128, 512]),
        ] {
            let mut own = Vec::new();
            for length in each_once(lengths) {
                for (number, who) in cases.into_iter().enumerate() {
                    for (index, quantity) in quantities.iter().enumerate() {
                        let value = (length * (number + 2) * (index + 3)) as f64 / 1e4;
                        own.extend(rounds(
                            (source, who, length),
                            quantity,
                            &[value, 1.1 * value],
                        ));
                    }
                }
            }
            all.extend(own);
        }
        record("2026-01-01", all)
    }

    #[test]
    fn the_page_reads_as_it_did() {
        let (page, all) = (declared(), [everything()]);
        let found = page.goals(&all) + &page.tables(&all).unwrap();
        for block in &page.layout.blocks {
            let title = match block {
                BlockSpec::Table(one) => &one.title,
                BlockSpec::Lengths(one) => &one.title,
                other => panic!("{other:?}"),
            };
            let title = title.split('{').next().unwrap();
            assert!(found.contains(&format!("### {title}")), "{title}");
        }
        let golden = Path::new(env!("CARGO_MANIFEST_DIR"));
        let golden = golden.join("tests/fixtures/golden/performance.md");
        if std::env::var_os("BSBR_BLESS").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        let known = std::fs::read_to_string(&golden).unwrap_or_default();
        let mut lines = found.lines().zip(known.lines());
        let differs = lines.find(|(new, old)| new != old);
        assert!(found == known, "{}: {differs:#?}", golden.display());
    }

    #[test]
    fn tables_have_medians_ratios_and_reasons() {
        let found = declared().tables(&[passes()]).unwrap();
        assert!(
            row(&found, "| dense").contains("3,000 [2,500, 3,500]"),
            "{found}"
        );
        let ratio = row(&found, "| dense ÷ PyTorch, SDPA");
        assert!(ratio.contains("2.00 [2.00, 2.00] (2.00, 2.00)"), "{found}");
        assert!(row(&found, "| PyTorch, eager").contains("— (a)"), "{found}");
        assert!(found.contains("(a) no torch"), "{found}");
        // What is not measured has no table.
        assert!(
            !found.contains("Decoding") && !found.contains("first token"),
            "{found}"
        );
    }

    #[test]
    fn a_share_stands_beside_its_part() {
        let of = |who: &str, quantity: &str, value| {
            rounds(("profile", who, 64), quantity, &[value]).remove(0)
        };
        let all = vec![
            of("dense", "part.head", 0.25),
            of("dense", "part.whole", 1.0),
            of("moments", "part.whole", 0.5),
        ];
        let found = declared().markdown(&[record("2026-01-01", all)]).unwrap();
        assert!(row(&found, "| head").contains("250 (25.0 %)"), "{found}");
        let tables = found.matches("### Profile of a forward pass: ").count();
        assert_eq!(tables, 2, "{found}");
        let [whole, head] = ["| whole", "| head"].map(|part| found.find(part).unwrap());
        assert!(whole < head, "the costliest part is first: {found}");
    }

    #[test]
    fn goals_are_judged_as_claims_are_by_their_worst_length() {
        let mut one = passes();
        let mut add = |who, length, values: &[f64]| {
            let new = rounds(("model", who, length), "seconds", values);
            one.measurements.extend(new);
        };
        add("dense", 512, &[1.0, 1.0]);
        add("torch-sdpa", 512, &[2.0, 2.0]);
        add("summaries-state", 512, &[0.5, 0.5]);
        let goal = "forward pass ÷ PyTorch's";
        let found = declared().markdown(&[one.clone()]).unwrap();
        let told = row(&found, goal);
        assert!(told.contains("| misses |"), "{told}");
        let lengths = "it holds at 1 of 2 lengths, the worst is 16 tokens";
        assert!(told.contains(lengths), "{told}");
        // Another arm does not meet the goals of the default.
        let of_default = "forward pass ÷ dense";
        let faster = row(&found, "| **2. ");
        assert!(faster.contains("| **not measured** |"), "{found}");
        for measured in &mut one.measurements {
            if measured.arm == "summaries-state" {
                measured.arm = "moments".to_owned();
            }
            if (measured.arm.as_str(), measured.length) == ("dense", 16) {
                measured.set("seconds", 0.5 + measured.index as f64 * 3.0);
            }
        }
        let found = declared().markdown(&[one]).unwrap();
        assert!(row(&found, of_default).contains("| holds |"), "{found}");
        assert!(row(&found, goal).contains("| undecided"), "{found}");
    }

    #[test]
    fn only_the_place_between_the_marks_is_rendered() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        let record = passes();
        store::write(&folder.path().join("page/one.json"), &record).unwrap();
        std::fs::write(
            &page,
            format!("# Title\n\n{BEGIN}\nold\n{END}\n\nThe end.\n"),
        )
        .unwrap();
        let declared = declared();
        declared.write(&page).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(
            text.starts_with("# Title\n") && text.ends_with("The end.\n"),
            "{text}"
        );
        assert!(
            !text.contains("\nold\n") && text.contains("misses"),
            "{text}"
        );
        let [new, old] = declared.rendered(&page).unwrap();
        assert_eq!(new, old, "rendering a rendered page changes nothing");

        let mut other = record.clone();
        other.run.machine.cpu = Some("Another".to_owned());
        store::write(&folder.path().join("page/two.json"), &other).unwrap();
        let [both, _] = declared.rendered(&page).unwrap();
        let count = |text: &str| {
            [
                text.matches("## On ").count(),
                text.matches("### Goals").count(),
            ]
        };
        assert_eq!(count(&both), [2, 2], "{both}");

        // A GPU has its own section, after the CPUs and without their goals.
        other.identity.device = "wgpu".to_owned();
        other.identity.dtype = "f16".to_owned();
        other.run.machine.accelerator = Some("A GPU".to_owned());
        other.run.date = "2025-01-01".to_owned();
        store::write(&folder.path().join("page/three.json"), &other).unwrap();
        let [all, _] = declared.rendered(&page).unwrap();
        let (processors, gpu) = all.split_once("## On A GPU, by wgpu, f16").unwrap();
        assert_eq!(count(processors), [2, 2], "{all}");
        assert!(!gpu.contains("### Goals"), "{all}");

        std::fs::write(&page, "no place").unwrap();
        let error = declared.write(&page).unwrap_err().to_string();
        assert!(error.contains(BEGIN), "{error}");
    }
}
