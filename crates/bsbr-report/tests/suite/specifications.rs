//! The committed specifications, and what is refused in others.

use std::path::Path;

use bsbr_report::experiments;
use bsbr_report::record::Records;
use bsbr_report::spec::{ARMS, Overrides, parse_spec, read_arms, read_specs};

use crate::tiny;

fn assets() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets")
}

/// Experiments that ask about summaries and their settings; all others measure the default arm.
const OF_SUMMARIES: [&str; 7] = [
    "chunk-size",
    "clusters",
    "compression",
    "exact-clusters",
    "hybrid",
    "layers",
    "methods",
];

#[test]
fn the_committed_specifications_can_be_run() {
    for scale in ["", "quick", "full", "shape"] {
        let overrides = Overrides {
            quick: scale == "quick",
            full: scale == "full",
            shape: scale == "shape",
            ..Overrides::default()
        };
        let specs = read_specs(&assets().join("experiments"), &overrides).unwrap();
        assert!(specs.len() >= 3);
        for spec in &specs {
            experiments::build(spec).unwrap();
            let experiment = spec.method.experiment.as_str();
            let default = spec.method.arms.iter().any(|arm| arm.default);
            assert_ne!(default, OF_SUMMARIES.contains(&experiment), "{experiment}");
            // It has a section before anything is recorded.
            let section = experiments::build(spec)
                .unwrap()
                .render(&Records::default());
            assert!(!section.unwrap().method.is_empty(), "{experiment}");
        }
    }
}

/// A unit whose work is stated in another measure than the others' makes the time left absurd.
#[test]
fn the_work_of_a_unit_is_that_of_its_tokens() {
    let lab = tiny::lab();
    let overrides = Overrides {
        full: true,
        ..Overrides::default()
    };
    for spec in read_specs(&assets().join("experiments"), &overrides).unwrap() {
        for unit in experiments::build(&spec).unwrap().units(&lab).unwrap() {
            let samples = unit.samples.end - unit.samples.start;
            let per_token = unit.work / (unit.length as f64 * samples as f64);
            let unit = format!("{} {}", spec.method.experiment, unit.id());
            assert!(per_token > 0.03, "{unit}: {per_token}");
        }
    }
}

#[test]
fn the_chunk_size_is_that_of_all_arms_that_have_one() {
    let arms = read_arms(&assets().join("experiments").join(ARMS)).unwrap();
    let text = r#"
        experiment = "agreement"
        title = "t"
        question = "q"
        order = 1
        seed = 1
        arms = ["dense", "moments"]
        chunk_size = 64
    "#;
    let spec = parse_spec(Path::new("x.toml"), text, &arms, &Overrides::default()).unwrap();
    let ids: Vec<&str> = spec.method.arms.iter().map(|arm| arm.id.as_str()).collect();
    assert_eq!(ids, ["dense", "moments"]);
    assert_eq!(spec.method.arms[1].config.chunk_size(), Some(64));
}

#[test]
fn mistakes_are_named() {
    let arms = read_arms(&assets().join("experiments").join(ARMS)).unwrap();
    let good = "experiment = \"agreement\"\ntitle = \"t\"\nquestion = \"q\"\norder = 1\nseed = 1\n";
    for (rest, part) in [
        ("arms = [\"dens\"]", "`dens`"),
        ("arms = []\nchunks = 3", "chunks"),
        ("arms = []\n[quick]\ntexts = 1", "`[quick]`: `texts`"),
        (
            "arms = []\n[[block]]\nkind = \"table\"\nid = \"t\"\ntitle = \"t\"\ncolumns = [\"top1\"]",
            "`top1` is not a quantity",
        ),
        (
            "arms = []\n[[goal]]\ntext = \"b\"\narm = \"y\"\nat_least = 1.0\n\
             measure = { mean = { quantity = \"x\", length = 1 } }",
            "`y`",
        ),
    ] {
        let text = format!("{good}{rest}");
        let error = parse_spec(Path::new("x.toml"), &text, &arms, &Overrides::default());
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("x.toml") && error.contains(part),
            "{error}"
        );
    }
    let shown = "arms = []\n[quantities]\ntop1 = { title = \"t\", style = \"percent 1\" }\n\
                 [[block]]\nkind = \"table\"\nid = \"t\"\ntitle = \"t\"\nquantity = \"top1\"\n";
    for (rest, parts) in [
        ("by = \"domain\"", ["`domain`", "domains, parts"]),
        (
            "by = \"domains\"\nfrom = \"text\"",
            ["`text`", "there are texts"],
        ),
        (
            "by = \"domains\"\nat = \"max lengths\"",
            ["`lengths`", "there are none"],
        ),
        (
            "by = \"domains\"\nat = \"length\"",
            ["`length`", "there are recorded"],
        ),
        ("by = \"domains\"\nwhen = \"limit\"", ["`limit`", "`when`"]),
        ("by = \"domains\"\nrows = \"all\"", ["`all`", "`rows`"]),
        (
            "by = \"domains\"\nnote = \"{settings.length}\"",
            ["`length`", "`note`"],
        ),
        (
            "by = \"domains\"\nnote = \"{domain}\"",
            ["`domain`", "at, domains"],
        ),
        (
            "by = \"domains\"\n[[block]]\nkind = \"special\"\nname = \"gallery\"",
            ["`gallery`", "there are none"],
        ),
    ] {
        let text = format!("{good}{shown}{rest}");
        let error = parse_spec(Path::new("x.toml"), &text, &arms, &Overrides::default());
        let error = error.unwrap_err().to_string();
        let all = ["x.toml", parts[0], parts[1]];
        assert!(all.iter().all(|part| error.contains(part)), "{error}");
    }
    let text = good.replace("agreement", "telepathy") + "arms = []";
    let error = parse_spec(Path::new("x.toml"), &text, &arms, &Overrides::default()).unwrap_err();
    assert!(error.to_string().contains("similarity"), "{error}");

    let text = format!("{good}arms = [\"dense\"]\n[settings]\nlengths = 3");
    let spec = parse_spec(Path::new("x.toml"), &text, &arms, &Overrides::default()).unwrap();
    let error = experiments::build(&spec).err().unwrap().to_string();
    assert!(error.contains("settings"), "{error}");
}

#[test]
fn a_sweep_makes_an_arm_for_each_value() {
    let arms = read_arms(&assets().join("experiments").join(ARMS)).unwrap();
    let text = r#"
        experiment = "clusters"
        title = "t"
        question = "q"
        order = 1
        seed = 1
        arms = ["dense"]
        [[sweep]]
        of = "moments"
        parameter = "clusters"
        values = [4, 8]
    "#;
    let parse = |text: &str| parse_spec(Path::new("x.toml"), text, &arms, &Overrides::default());
    let spec = parse(text).unwrap();
    let ids: Vec<(&str, bool)> = spec
        .method
        .arms
        .iter()
        .map(|arm| (arm.id.as_str(), arm.default))
        .collect();
    assert_eq!(
        ids,
        [
            ("dense", false),
            ("moments-clusters-4", false),
            ("moments-clusters-8", true)
        ]
    );
    let base = arms.iter().find(|arm| arm.id == "moments").unwrap();
    assert_eq!(spec.method.arms[2].config, base.config);
    for (from, to, part) in [
        ("of = \"moments\"", "of = \"moment\"", "`moment`"),
        (
            "\"clusters\"\n        values",
            "\"cluster\"\n        values",
            "cluster of",
        ),
    ] {
        let error = parse(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
