//! ROUGE compared with the results of Google's `rouge-score` package.

use bsbr_metrics::rouge::{RougeScore, RougeScores, rouge};
use serde::Deserialize;

/// Both compute the same ratios of the same counts; only the parser of the
/// fixture may be off by a unit in the last place.
const TOLERANCE: f64 = 2.0 * f64::EPSILON;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    reference: String,
    candidate: String,
    plain: RougeScores,
    stemmed: RougeScores,
}

fn close(found: RougeScore, expected: RougeScore) -> bool {
    (found.precision - expected.precision).abs() <= TOLERANCE
        && (found.recall - expected.recall).abs() <= TOLERANCE
        && (found.f1 - expected.f1).abs() <= TOLERANCE
}

#[test]
fn equals_rouge_score() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/rouge.json")).unwrap();
    assert!(fixture.cases.len() > 100);
    for case in fixture.cases {
        for (stemming, expected) in [(false, case.plain), (true, case.stemmed)] {
            let found = rouge(&case.reference, &case.candidate, stemming).unwrap();
            let pairs = [
                ("rouge1", found.rouge1, expected.rouge1),
                ("rouge2", found.rouge2, expected.rouge2),
                ("rougeL", found.rouge_l, expected.rouge_l),
                ("rougeLsum", found.rouge_lsum, expected.rouge_lsum),
            ];
            for (variant, found, expected) in pairs {
                assert!(
                    close(found, expected),
                    "{} (stemming {stemming}), {variant}: found {found:?}, expected {expected:?}",
                    case.name
                );
            }
        }
    }
}
