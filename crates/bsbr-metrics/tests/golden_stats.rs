//! All metrics except ROUGE compared with the results of NumPy and SciPy.

use bsbr_metrics::agreement::{overlap, top_k};
use bsbr_metrics::density::attention_density;
use bsbr_metrics::divergence::Reference;
use bsbr_metrics::perplexity::token_nll;
use bsbr_metrics::similarity::{cosine, mse};
use bsbr_metrics::stats::{Bootstrap, Interval, Summary, wilson};
use serde::Deserialize;

/// Sums of at most a few hundred terms in 64 bits, in another order than NumPy's.
const RELATIVE: f64 = 1e-12;
/// For results that are differences of larger numbers, such as a small KL.
const ABSOLUTE: f64 = 1e-14;

#[derive(Deserialize)]
struct Fixture {
    kl: Vec<KlCase>,
    nll: Vec<NllCase>,
    vectors: Vec<VectorCase>,
    top_k: Vec<TopKCase>,
    summaries: Vec<SummaryCase>,
    bootstraps: Vec<BootstrapCase>,
    proportions: Vec<ProportionCase>,
    densities: Vec<DensityCase>,
}

#[derive(Deserialize)]
struct KlCase {
    dense: Vec<f64>,
    arm: Vec<f64>,
    kl: f64,
}

#[derive(Deserialize)]
struct NllCase {
    logits: Vec<f64>,
    target: usize,
    nll: f64,
}

#[derive(Deserialize)]
struct VectorCase {
    a: Vec<f64>,
    b: Vec<f64>,
    cosine: f64,
    mse: f64,
}

#[derive(Deserialize)]
struct TopKCase {
    a: Vec<f64>,
    b: Vec<f64>,
    k: usize,
    top_a: Vec<usize>,
    overlap: f64,
}

#[derive(Deserialize)]
struct SummaryCase {
    samples: Vec<f64>,
    mean: f64,
    std: f64,
    median: f64,
    q25: f64,
    q75: f64,
    min: f64,
    max: f64,
}

#[derive(Deserialize)]
struct BootstrapCase {
    a: Vec<f64>,
    mean: Interval,
}

#[derive(Deserialize)]
struct ProportionCase {
    successes: u64,
    trials: u64,
    confidence: f64,
    wilson: Interval,
}

#[derive(Deserialize)]
struct DensityCase {
    weights: Vec<f64>,
    threshold: f64,
    above: f64,
    effective: f64,
}

fn fixture() -> Result<Fixture, serde_json::Error> {
    serde_json::from_str(include_str!("fixtures/stats.json"))
}

fn assert_close(what: &str, found: f64, expected: f64) {
    assert_within(what, found, expected, ABSOLUTE + RELATIVE * expected.abs());
}

fn assert_within(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: found {found}, expected {expected} within {tolerance:e}"
    );
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

#[test]
fn divergence_and_likelihood_equal_scipy() {
    let fixture = fixture().unwrap();
    for case in &fixture.kl {
        let found = Reference::of(&case.dense).unwrap().kl(&case.arm).unwrap();
        assert_close("kl", found, case.kl);
        // The logits are exact in 32 bits, and all sums are in 64.
        let narrowed = Reference::of(&narrow(&case.dense)).unwrap();
        assert_eq!(narrowed.kl(&narrow(&case.arm)).unwrap(), found);
    }
    for case in &fixture.nll {
        assert_close(
            "nll",
            token_nll(&case.logits, case.target).unwrap(),
            case.nll,
        );
    }
}

#[test]
fn similarity_equals_scipy() {
    for case in fixture().unwrap().vectors {
        assert_close("cosine", cosine(&case.a, &case.b).unwrap(), case.cosine);
        assert_close("mse", mse(&case.a, &case.b).unwrap(), case.mse);
        assert_eq!(
            mse(&narrow(&case.a), &narrow(&case.b)),
            mse(&case.a, &case.b)
        );
    }
}

#[test]
fn top_k_equals_a_stable_sort() {
    for case in fixture().unwrap().top_k {
        let [a, b] = [&case.a, &case.b].map(|row| top_k(row, case.k).unwrap());
        assert_eq!(a, case.top_a);
        assert_close("overlap", overlap(&a, &b), case.overlap);
    }
}

#[test]
fn summaries_equal_numpy() {
    for case in fixture().unwrap().summaries {
        let summary = Summary::of(&case.samples, &Bootstrap::default()).unwrap();
        assert_close("mean", summary.mean, case.mean);
        assert_close("std", summary.std.unwrap(), case.std);
        assert_close("median", summary.median, case.median);
        assert_close("q25", summary.q25, case.q25);
        assert_close("q75", summary.q75, case.q75);
        assert_close("min", summary.min, case.min);
        assert_close("max", summary.max, case.max);
    }
}

#[test]
fn bootstrap_intervals_agree_with_scipy() {
    // Both are Monte Carlo estimates, ours of 20,000 resamples: an end then has a
    // standard error of about 1 % of the width, and 4 % is four of them.
    let bootstrap = Bootstrap {
        resamples: 20_000,
        seed: 7,
    };
    for case in fixture().unwrap().bootstraps {
        let found = Summary::of(&case.a, &bootstrap).unwrap().ci95.unwrap();
        let tolerance = 0.04 * (case.mean.high - case.mean.low);
        assert_within("mean", found.low, case.mean.low, tolerance);
        assert_within("mean", found.high, case.mean.high, tolerance);
    }
}

#[test]
fn proportions_equal_scipy() {
    for case in fixture().unwrap().proportions {
        let ProportionCase {
            successes,
            trials,
            confidence,
            ..
        } = case;
        let label = format!("{successes} of {trials} at {confidence}");
        let score = wilson(successes, trials, confidence).unwrap();
        assert_close(&label, score.low, case.wilson.low);
        assert_close(&label, score.high, case.wilson.high);
    }
}

#[test]
fn densities_equal_scipy() {
    for case in fixture().unwrap().densities {
        let alone = attention_density(&case.weights, case.threshold).unwrap();
        assert_close("share above", alone.above_threshold, case.above);
        assert_close("effective", alone.effective, case.effective);
    }
}
