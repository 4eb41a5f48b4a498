//! Properties that hold for any input.

use bsbr_metrics::agreement::{overlap, top_k};
use bsbr_metrics::density::attention_density;
use bsbr_metrics::divergence::Reference;
use bsbr_metrics::perplexity::token_nll;
use bsbr_metrics::rouge::rouge;
use bsbr_metrics::similarity::{cosine, mse};
use bsbr_metrics::stats::{Bootstrap, Summary, quantile, wilson};
use bsbr_metrics::{MetricError, Real};
use proptest::collection::vec;
use proptest::prelude::*;

/// Few resamples keep the tests quick; the properties hold for any number.
const BOOTSTRAP: Bootstrap = Bootstrap {
    resamples: 200,
    seed: 3,
};

/// Two rows of logits of one vocabulary.
fn two_rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1usize..80).prop_flat_map(|n| (vec(-40f32..40.0, n), vec(-40f32..40.0, n)))
}

/// Two rows with few distinct values, so that ties are common.
fn two_rows_with_ties() -> impl Strategy<Value = (Vec<f32>, Vec<f32>, usize)> {
    (1usize..60).prop_flat_map(|n| {
        let row = || vec((-3i8..4).prop_map(f32::from), n);
        (row(), row(), 1..=n)
    })
}

fn samples() -> impl Strategy<Value = Vec<f64>> {
    vec(-1e6f64..1e6, 2..60)
}

/// Sums of a few dozen numbers of up to 1e6 in 64 bits.
const SLACK: f64 = 1e-8;

fn kl<T: Real>(dense: &[T], arm: &[T]) -> Result<f64, MetricError> {
    Reference::of(dense)?.kl(arm)
}

proptest! {
    #[test]
    fn kl_is_never_negative((dense, arm) in two_rows()) {
        prop_assert!(kl(&dense, &arm).unwrap() >= 0.0);
    }

    #[test]
    fn kl_of_equal_logits_is_zero((row, _) in two_rows()) {
        prop_assert_eq!(kl(&row, &row).unwrap(), 0.0);
    }

    #[test]
    fn kl_ignores_a_shift((dense, arm) in two_rows(), shift in -1e3f64..1e3) {
        let widen = |row: &[f32], by: f64| row.iter().map(|&x| f64::from(x) + by).collect::<Vec<_>>();
        let plain = kl(&dense, &arm).unwrap();
        let shifted = kl(&widen(&dense, 0.0), &widen(&arm, shift)).unwrap();
        // Adding the shift rounds each logit to 1e-13.
        prop_assert!((plain - shifted).abs() <= 1e-11, "{} {}", plain, shifted);
    }

    #[test]
    fn kl_is_the_loss_in_likelihood((dense, arm) in two_rows()) {
        // KL = Σ p (nll under the arm − nll under the dense model).
        let expected: f64 = (0..dense.len())
            .map(|i| {
                let own = token_nll(&dense, i).unwrap();
                (-own).exp() * (token_nll(&arm, i).unwrap() - own)
            })
            .sum();
        prop_assert!((kl(&dense, &arm).unwrap() - expected).abs() <= 1e-12);
    }

    #[test]
    fn probabilities_sum_to_one((row, _) in two_rows()) {
        let sum: f64 = (0..row.len()).map(|i| (-token_nll(&row, i).unwrap()).exp()).sum();
        prop_assert!((sum - 1.0).abs() <= 1e-13);
    }

    #[test]
    fn cosine_is_bounded_symmetric_and_ignores_scale(
        (a, b) in two_rows(),
        scale in 1e-3f64..1e3,
    ) {
        prop_assume!(a.iter().any(|&x| x != 0.0) && b.iter().any(|&x| x != 0.0));
        let value = cosine(&a, &b).unwrap();
        prop_assert!((-1.0..=1.0).contains(&value));
        prop_assert_eq!(value, cosine(&b, &a).unwrap());
        let widen = |row: &[f32], by: f64| row.iter().map(|&x| f64::from(x) * by).collect::<Vec<_>>();
        let scaled = cosine(&widen(&a, scale), &widen(&b, 1.0)).unwrap();
        prop_assert!((value - scaled).abs() <= 1e-13);
        prop_assert!((cosine(&a, &a).unwrap() - 1.0).abs() <= 1e-14);
    }

    #[test]
    fn mse_is_symmetric_and_zero_only_for_equals((a, b) in two_rows()) {
        let value = mse(&a, &b).unwrap();
        prop_assert_eq!(value, mse(&b, &a).unwrap());
        prop_assert_eq!(value == 0.0, a == b);
    }

    #[test]
    fn top_k_is_the_head_of_a_full_sort((row, _, k) in two_rows_with_ties()) {
        let mut ids: Vec<usize> = (0..row.len()).collect();
        ids.sort_by(|&i, &j| row[j].total_cmp(&row[i]).then(i.cmp(&j)));
        prop_assert_eq!(top_k(&row, k).unwrap(), &ids[..k]);
    }

    #[test]
    fn overlap_is_symmetric_and_bounded((a, b, k) in two_rows_with_ties()) {
        let of = |a: &[f32], b: &[f32], k| overlap(&top_k(a, k).unwrap(), &top_k(b, k).unwrap());
        let share = of(&a, &b, k);
        prop_assert!((0.0..=1.0).contains(&share));
        prop_assert_eq!(share, of(&b, &a, k));
        prop_assert_eq!(of(&a, &a, k), 1.0);
        prop_assert_eq!(of(&a, &b, a.len()), 1.0);
    }

    #[test]
    fn summaries_are_ordered(samples in samples()) {
        let summary = Summary::of(&samples, &BOOTSTRAP).unwrap();
        let ci95 = summary.ci95.unwrap();
        prop_assert!(ci95.low - SLACK <= summary.mean && summary.mean <= ci95.high + SLACK);
        prop_assert!(summary.min <= summary.q25 && summary.q25 <= summary.median);
        prop_assert!(summary.median <= summary.q75 && summary.q75 <= summary.max);
        prop_assert!(summary.min - SLACK <= ci95.low && ci95.high <= summary.max + SLACK);
        prop_assert!(summary.std.unwrap() <= (summary.max - summary.min) + SLACK);
    }

    #[test]
    fn summaries_follow_a_shift(samples in samples(), shift in -1e6f64..1e6) {
        let plain = Summary::of(&samples, &BOOTSTRAP).unwrap();
        let shifted: Vec<f64> = samples.iter().map(|x| x + shift).collect();
        let shifted = Summary::of(&shifted, &BOOTSTRAP).unwrap();
        prop_assert!((plain.mean + shift - shifted.mean).abs() <= SLACK);
        prop_assert!((plain.ci95.unwrap().low + shift - shifted.ci95.unwrap().low).abs() <= SLACK);
        prop_assert!((plain.std.unwrap() - shifted.std.unwrap()).abs() <= SLACK);
    }

    #[test]
    fn quantiles_grow(samples in samples(), p in 0f64..=1.0, q in 0f64..=1.0) {
        let (low, high) = (p.min(q), p.max(q));
        prop_assert!(quantile(&samples, low).unwrap() <= quantile(&samples, high).unwrap());
    }

    #[test]
    fn proportions_lie_in_their_intervals(
        (successes, trials) in (1u64..5000).prop_flat_map(|n| (0..=n, Just(n))),
        confidence in 0.01f64..0.999,
    ) {
        let share = successes as f64 / trials as f64;
        let score = wilson(successes, trials, confidence).unwrap();
        prop_assert!(0.0 <= score.low && score.high <= 1.0);
        prop_assert!(score.low - 1e-12 <= share && share <= score.high + 1e-12);
        // Failures are successes of the opposite.
        let opposite = wilson(trials - successes, trials, confidence).unwrap();
        prop_assert!((score.low + opposite.high - 1.0).abs() <= 1e-12);
    }

    #[test]
    fn rouge_is_bounded_and_swaps(a in "[a-e ,.\n]{0,60}", b in "\\PC{0,60}", stemming: bool) {
        let (ab, ba) = (rouge(&a, &b, stemming).unwrap(), rouge(&b, &a, stemming).unwrap());
        for score in [ab.rouge1, ab.rouge2, ab.rouge_l, ab.rouge_lsum] {
            for share in [score.precision, score.recall, score.f1] {
                prop_assert!((0.0..=1.0).contains(&share));
            }
        }
        for (forth, back) in [
            (ab.rouge1, ba.rouge1),
            (ab.rouge2, ba.rouge2),
            (ab.rouge_l, ba.rouge_l),
        ] {
            prop_assert_eq!((forth.precision, forth.recall), (back.recall, back.precision));
        }
    }

    #[test]
    fn rouge_against_itself_is_perfect(words in vec("[a-z0-9]{1,8}", 2..30), stemming: bool) {
        let text = words.join(" ");
        let scores = rouge(&text, &text, stemming).unwrap();
        for score in [scores.rouge1, scores.rouge2, scores.rouge_l, scores.rouge_lsum] {
            prop_assert_eq!((score.precision, score.recall, score.f1), (1.0, 1.0, 1.0));
        }
    }

    #[test]
    fn density_is_bounded(
        entries in vec(0.001f64..1.0, 1..40),
        threshold in 0f64..0.2,
    ) {
        let sum: f64 = entries.iter().sum();
        let weights: Vec<f64> = entries.iter().map(|w| w / sum).collect();
        let density = attention_density(&weights, threshold).unwrap();
        let n = weights.len() as f64;
        prop_assert_eq!(density.positions, weights.len() as u64);
        prop_assert!(1.0 / n - 1e-15 <= density.effective && density.effective <= 1.0);
        prop_assert!((0.0..=1.0).contains(&density.above_threshold));
    }
}
