//! The overview: the report's conclusions, and the verdicts of made-up records on them.

use bsbr_report::judge::{Choice, Vote, ballots};
use bsbr_report::overview::{Answer, Measure, Overview, Recorded, answer};
use bsbr_report::record::{Measurement, Record, Records};
use bsbr_report::section::{Cell, Picture, Verdict};
use bsbr_report::spec::{Overrides, Spec};
use bsbr_report::verdict::Judgement;

use crate::common;

fn spec(experiment: &str) -> Spec {
    let specs = common::specs(&Overrides {
        full: true,
        ..Overrides::default()
    });
    let mut found = specs.into_iter();
    found
        .find(|spec| spec.method.experiment == experiment)
        .unwrap()
}

/// An overview from the text of a file.
fn overview(text: &str) -> Overview {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("overview.toml");
    std::fs::write(&path, text).unwrap();
    Overview::read(&path).unwrap()
}

/// The one finding of a claim of the experiment.
fn found(spec: &Spec, records: &Records, claim: &str) -> Verdict {
    let experiment = &spec.method.experiment;
    let text = format!(
        "[[conclusion]]\ntext = \"c\"\n[[conclusion.claim]]\ntext = \"t\"\n\
         experiment = \"{experiment}\"\n{claim}"
    );
    let sources = [Recorded { spec, records }];
    let mut all = answer(&overview(&text), &sources, &common::reported(), &[]);
    all.conclusions.remove(0).findings.remove(0)
}

/// Seconds that grow as n² for dense attention and as 700 n for the rest; dense is faster below 700.
fn times(spec: &Spec) -> Records {
    let mut all = Vec::new();
    for length in [128, 256, 512, 1024, 2048, 4096] {
        for index in 0..5u64 {
            for arm in &spec.method.arms {
                let n = length as f64;
                let noise = 1.0 + 0.01 * index as f64;
                let seconds = match arm.id.as_str() {
                    "dense" => n * n * noise,
                    "local" => 0.9 * n * n * noise,
                    "published" => 2.0 * n * n * noise,
                    _ => 700.0 * n * noise,
                };
                let mut one = Measurement::new(&arm.id, "model", length, index);
                one.set("seconds", seconds);
                all.push(one);
            }
        }
    }
    Records::new(vec![common::record(spec, "model", all, 5)])
}

#[test]
fn the_committed_overview_is_bound_to_what_there_is() {
    let overview = common::overview();
    let specs = common::specs(&Overrides {
        full: true,
        ..Overrides::default()
    });
    overview.check(&specs, &common::reported()).unwrap();
    assert_eq!((overview.cards.len(), overview.conclusions.len()), (3, 5));
    for one in overview.conclusions.iter().flat_map(|one| &one.statements) {
        let others: Vec<&String> = match &one.measure {
            Measure::Ratio { over, .. }
            | Measure::Crossover { over, .. }
            | Measure::Preference { over } => vec![over],
            Measure::Gap { before, goal, .. } => vec![before, goal],
            _ => Vec::new(),
        };
        let spec = spec(&one.experiment);
        for arm in one.beside.iter().chain([&one.arm]).chain(others) {
            let arm = arm.split('@').next().unwrap();
            assert!(spec.arm(arm).is_some(), "{}: {arm}", one.text);
        }
        if let Measure::Goal(name) = &one.measure {
            let goal = spec.goals.iter().find(|goal| goal.text == *name);
            assert_eq!(goal.unwrap().arm, one.arm, "{name}");
        }
    }
}

#[test]
fn mistakes_are_named() {
    let good = "experiment = \"speed\"\nbeside = [\"local\"]\n\
                measure = { ratio = { quantity = \"seconds\", length = 1024, source = \"model\", \
                over = \"dense\" } }";
    let (specs, reported) = (common::specs(&Overrides::default()), common::reported());
    let folder = tempfile::tempdir().unwrap();
    let checked = |text: &str| {
        let path = folder.path().join("overview.toml");
        std::fs::write(&path, text).unwrap();
        let read = Overview::read(&path).unwrap();
        read.check(&specs, &reported)
            .map_err(|error| error.to_string())
    };
    let claim = |rest: &str| {
        format!(
            "[[conclusion]]\ntext = \"c\"\n[[conclusion.claim]]\ntext = \"of t\"\nat_least = 0.5\n{rest}"
        )
    };
    let card =
        |rest: &str| format!("[[card]]\ntitle = \"c\"\n[[card.number]]\ntext = \"of t\"\n{rest}");
    for place in [claim, card] {
        checked(&place(good)).unwrap();
        for (from, to, named) in [
            ("\"seconds\"", "\"second\"", "`second` is not a quantity"),
            (
                "\"model\"",
                "\"models\"",
                "`models` is not a known value of `from`",
            ),
            ("\"speed\"", "\"sped\"", "no experiment called sped"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = checked(&place(&good.replace(from, to))).unwrap_err();
            assert!(error.contains("“of t”") && error.contains(named), "{error}");
        }
    }
    let figure = claim(&format!("reported = \"agreement:top2\"\n{good}"));
    let error = checked(&figure).unwrap_err();
    assert!(error.contains("no figure `agreement:top2`"), "{error}");
    let goal = claim("experiment = \"agreement\"\nmeasure = { goal = \"nothing\" }");
    let error = checked(&goal.replace("at_least = 0.5\n", "")).unwrap_err();
    assert!(error.contains("no goal “nothing”"), "{error}");
}

#[test]
fn a_mean_is_told_with_its_limit_its_controls_and_the_reports_number() {
    let spec = spec("agreement");
    let records = common::agreement(&spec, 4);
    let claim = "measure = { mean = { quantity = \"top1\", length = 1024 } }\nat_least = 0.95\n\
                 beside = [\"local\", \"nobody\"]\nstyle = \"percent 1\"\nreported = \"agreement:top1\"\n\
                 note = \"And more.\"";
    let one = found(&spec, &records, claim);
    assert_eq!(
        (one.judgement, one.arm.as_str()),
        (Judgement::Holds, "moments")
    );
    assert!(one.of_default);
    assert_eq!(one.section.as_deref(), Some("agreement"));
    assert!(
        one.why
            .starts_with("Required: ≥ 95.0 %; for comparison: local 8"),
        "{}",
        one.why
    );
    assert!(
        one.why.ends_with(" %; the report: 76.3 %. And more."),
        "{}",
        one.why
    );

    let bar = "arm = \"local\"\nmeasure = { goal = \"Top-1 agreement, without training\" }";
    let one = found(&spec, &records, bar);
    assert_eq!(
        (one.arm.as_str(), one.judgement),
        ("moments", Judgement::Holds)
    );
    assert_eq!(one.why, "Required: ≥ 0.950.");
}

#[test]
fn ratios_crossovers_and_exponents_come_from_samples() {
    let spec = spec("speed");
    let records = times(&spec);
    let of = |claim: &str| found(&spec, &records, claim);
    let shown = |one: &Verdict| match &one.measured {
        Cell::Derived { text, spread, .. } => format!("{text} {spread}"),
        other => panic!("{other:?}"),
    };

    let ratio = of(
        "measure = { ratio = { quantity = \"seconds\", length = 1024, \
                    source = \"model\", over = \"dense\" } }\nat_most = 1.0\nstyle = \"fixed 2\"",
    );
    let Cell::Measured(e, _) = &ratio.measured else {
        panic!("{ratio:?}");
    };
    assert!((e.mean - 700.0 / 1024.0).abs() < 1e-9 && e.n == 5);
    let ends = e.interval.unwrap();
    assert!(ends.high - ends.low < 1e-9);
    assert_eq!(ratio.judgement, Judgement::Holds);

    let share = "arm = \"moments-state-32bit\"\nmeasure = { gap = { quantity = \"seconds\", \
                 length = 1024, source = \"model\", before = \"dense\", goal = \"local\" } }\n\
                 at_least = 0.5";
    let gap = of(share);
    let Cell::Measured(e, _) = &gap.measured else {
        panic!("{gap:?}");
    };
    // From n² to 0.9 n²: 700 n lies at (n − 700) / 0.1 n.
    assert!((e.mean - 324.0 / 102.4).abs() < 1e-9, "{e:?}");

    // Where there is no gap, no share of it was closed.
    let none = of(
        "measure = { gap = { quantity = \"seconds\", length = 1024, \
                   source = \"model\", before = \"dense\", goal = \"dense\" } }\nat_least = 0.5",
    );
    assert_eq!(none.judgement, Judgement::NotMeasured);
    assert!(none.why.contains("othing to recover"), "{}", none.why);

    // One sample does not tell whether there is one.
    let mut first: Vec<Record> = records.iter().cloned().collect();
    for record in &mut first {
        record.measurements.retain(|one| one.index == 0);
    }
    let one = found(&spec, &Records::new(first), share);
    assert_eq!(one.judgement, Judgement::NotMeasured);
    assert!(one.why.contains("ne sample does not tell"), "{}", one.why);

    let crossover = "measure = { crossover = { quantity = \"seconds\", source = \"model\", \
                     over = \"dense\" } }\nat_least = 128\nat_most = 4096\nstyle = \"tokens\"\n\
                     beside = [\"local\", \"published\"]";
    let one = of(crossover);
    assert!(shown(&one).starts_with("700 tokens [68"), "{one:?}");
    assert_eq!(
        one.why,
        "Required: 128 to 4,096 tokens; for comparison: local at every length · published not up to 4,096."
    );
    // Neither an arm that always gains nor one that never does has a crossover.
    for arm in ["local", "published"] {
        let one = of(&format!("arm = \"{arm}\"\n{crossover}"));
        assert_eq!(one.judgement, Judgement::Misses, "{one:?}");
    }

    let exponent = "measure = { exponent = { quantity = \"seconds\", source = \"model\", \
                    from = 512 } }\nat_most = 1.3\nstyle = \"fixed 2\"";
    let one = of(exponent);
    assert!(shown(&one).starts_with("1.00 [0.9"), "{one:?}");
    let dense = of(&format!("arm = \"dense\"\n{exponent}"));
    assert!(shown(&dense).starts_with("2.00 ["), "{dense:?}");
    assert_eq!(
        (one.judgement, dense.judgement),
        (Judgement::Holds, Judgement::Misses)
    );
}

#[test]
fn what_has_no_record_says_why() {
    let (speed, none) = (spec("speed"), Records::default());
    let claim = "measure = { mean = { quantity = \"speedup\", length = 8192, \
                 source = \"model\" } }\nat_least = 1.0";
    let one = found(&speed, &none, claim);
    assert_eq!(one.judgement, Judgement::NotMeasured);
    assert_eq!(one.why, "No records of “speed”.");

    let gpu = format!("device = \"gpu\"\n{claim}");
    let cpu = format!("device = \"cpu\"\n{claim}");
    let records = times(&speed);
    let one = found(&speed, &records, &gpu);
    assert_eq!(
        one.why,
        "No records of “speed” on a GPU: the records are from flex."
    );
    let on_gpu: Vec<Record> = records
        .iter()
        .cloned()
        .map(|mut record| {
            record.identity.device = "cuda:1".to_owned();
            record
        })
        .collect();
    let one = found(&speed, &Records::new(on_gpu), &cpu);
    assert_eq!(
        one.why,
        "No records of “speed” on the CPU: the records are from cuda:1."
    );

    let unknown = format!("arm = \"nobody\"\n{claim}");
    let one = found(&speed, &records, &unknown);
    assert_eq!(one.why, "Not measured yet.");
}

fn finding(judgement: Judgement, observation: bool) -> Verdict {
    Verdict {
        claim: "t".to_owned(),
        observation,
        section: None,
        arm: "moments".to_owned(),
        of_default: true,
        required: String::new(),
        measured: Cell::Missing("not yet".to_owned()),
        judgement,
        why: String::new(),
    }
}

#[test]
fn preference_is_that_of_the_votes() {
    let spec = spec("summarisation");
    let records = common::summarisation(&spec, 6);
    let claim = "measure = { preference = { over = \"dense\" } }\nat_least = 0.45\n\
                 style = \"percent 1\"";
    let one = found(&spec, &records, claim);
    assert_eq!(
        (one.judgement, one.why.as_str()),
        (Judgement::NotMeasured, "No votes yet.")
    );
    let votes = ballots(&records, ["moments", "dense"], 1, "ada")
        .into_iter()
        .map(|ballot| Vote {
            judge: "ada".to_owned(),
            choice: match ballot.order[0] == "moments" {
                true => Choice::Left,
                false => Choice::Right,
            },
            pair: ballot.pair,
            article: ballot.article,
            order: ballot.order,
            time: "2026-01-01T00:00:00Z".to_owned(),
            seed: 1,
            ballot: ballot.id,
        });
    let one = found(&spec, &records.with_votes(votes.collect()), claim);
    assert_eq!(one.judgement, Judgement::Holds);
}

#[test]
fn a_conclusion_counts_its_claims() {
    let (yes, no) = (Judgement::Holds, Judgement::Misses);
    let (maybe, open) = (Judgement::Undecided(Some(9)), Judgement::NotMeasured);
    for (claims, observations, count, others) in [
        (vec![yes, yes], vec![no, open], "2 of 2 hold", ""),
        (vec![yes, no], vec![yes], "1 of 2 hold", "1 misses"),
        (
            vec![yes, maybe, open],
            vec![],
            "1 of 2 hold",
            "1 undecided, 1 not measured",
        ),
        (vec![no, no], vec![], "0 of 2 hold", "2 miss"),
        (vec![yes], vec![], "1 of 1 holds", ""),
        (vec![open], vec![yes], "not measured", "1 not measured"),
    ] {
        let claims = claims
            .into_iter()
            .map(|judgement| finding(judgement, false));
        let observations = observations
            .into_iter()
            .map(|judgement| finding(judgement, true));
        let one = Answer {
            text: "c".to_owned(),
            findings: claims.chain(observations).collect(),
        };
        assert_eq!(
            (one.count().as_str(), one.others().as_str()),
            (count, others)
        );
    }
}

/// Statements without a measurement share a line, which names each beside its reason.
#[test]
fn a_page_lists_measured_statements_and_names_the_others_in_one_line() {
    let open = |text: &str, why: &str| Verdict {
        claim: text.to_owned(),
        why: why.to_owned(),
        ..finding(Judgement::NotMeasured, text == "c")
    };
    let mut one = Answer {
        text: "c".to_owned(),
        findings: vec![
            open("a", "No records of x."),
            finding(Judgement::Misses, false),
            open("b", "No records of y."),
            open("c", "No records of x."),
        ],
    };
    let shown = one.shown();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0], one.findings[1]);
    assert_eq!(shown[1].claim, "3 other claims");
    assert_eq!(shown[1].judgement, Judgement::NotMeasured);
    assert_eq!(shown[1].why, "No records of x: a; c. No records of y: b.");
    one.findings.truncate(2);
    assert_eq!(one.shown()[1].claim, "1 other claim");
    one.findings.remove(0);
    assert_eq!(one.shown(), one.findings);
    // A conclusion without any measurement has only its reasons.
    one.findings = [
        open("a", "No records of x."),
        open("c", "No records of y."),
        open("b", "No records of x."),
    ]
    .to_vec();
    assert_eq!(one.shown(), []);
    assert_eq!(one.others(), "No records of x. No records of y.");
}

/// What comes of a card and of a scatter chart.
#[test]
fn the_first_screen_has_the_default_arm_in_numbers_and_a_point_for_each_arm() {
    let spec = spec("speed");
    let records = times(&spec);
    let text = r#"
        [[card]]
        title = "Fast?"
        [[card.number]]
        text = "tokens a second"
        experiment = "speed"
        measure = { rate = { quantity = "seconds", length = 1024, source = "model" } }
        beside = ["dense"]
        [[card.number]]
        text = "of the cache"
        experiment = "speed"
        measure = { cache = { length = 4096 } }
        style = "percent 1"
        [[scatter]]
        title = "Time against time"
        x = { text = "x", experiment = "speed", measure = { mean = { quantity = "seconds", length = 512, source = "model" } } }
        y = { text = "y", experiment = "speed", measure = { mean = { quantity = "seconds", length = 1024, source = "model" } } }
    "#;
    let sources = [Recorded {
        spec: &spec,
        records: &records,
    }];
    let found = answer(
        &overview(text),
        &sources,
        &common::reported(),
        &spec.method.arms,
    );
    let [(_, rate, beside), (_, cache, _)] = found.cards[0].numbers.as_slice() else {
        panic!("{:?}", found.cards);
    };
    // 1024 tokens in 700 · 1024 seconds and a little noise.
    assert!(
        (rate.value().unwrap() * 700.0 - 1.0).abs() < 0.03,
        "{rate:?}"
    );
    assert!(beside.starts_with("dense 0.000"), "{beside}");
    let default = spec.method.arms.iter().find(|arm| arm.default).unwrap();
    let expected = default.config.cache_numbers(4096, 64) / (2.0 * 64.0 * 4096.0);
    assert_eq!(cache.value(), Some(expected));
    let Picture::Svg { body, .. } = &found.scatters[0] else {
        panic!("no chart");
    };
    assert_eq!(
        body.matches("class=\"mark\"").count(),
        spec.method.arms.len()
    );
}

#[test]
fn a_statement_has_limits_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("overview.toml");
    let head = "[[conclusion]]\ntext = \"c\"\n[[conclusion.claim]]\ntext = \"so it is\"\n\
                experiment = \"speed\"\n";
    for (rest, part) in [
        (
            "measure = { exponent = { quantity = \"q\", source = \"s\", from = 1 } }",
            "no limit",
        ),
        (
            "measure = { goal = \"b\" }\nat_most = 1.0",
            "those of its goal",
        ),
        ("measure = { median = \"b\" }", "median"),
    ] {
        std::fs::write(&path, format!("{head}{rest}")).unwrap();
        let error = Overview::read(&path).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_overview_comes_first_and_links_to_its_sections() {
    let report = common::report();
    let page = report.html();
    let place = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part}"));
    assert!(place("id=\"overview\"") < place("id=\"arms\""));
    assert!(place("id=\"arms\"") < place("id=\"similarity\""));
    assert!(page.contains("href=\"#agreement\""));
    let folder = tempfile::tempdir().unwrap();
    report.write(folder.path()).unwrap();
    let index = std::fs::read_to_string(folder.path().join("index.md")).unwrap();
    assert!(index.contains("](agreement.md)"), "{index}");
    assert!(
        index.contains("other claims | — |  | not measured | No records of “"),
        "{index}"
    );
}
