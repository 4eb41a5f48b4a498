//! Merging two clusters equals building one from all their tokens.

use crate::common::{Random, assert_close, test_device};
use bsbr_attention::clusters::Assignment;
use bsbr_attention::summary::{StateForm, Summary};
use burn::tensor::{DType, Tensor};

fn chunks(seed: u64) -> (Tensor<5>, Tensor<5>) {
    let mut random = Random::new(seed);
    let mut tensor = || random.tensor([2, 3, 4, 8, 5], &test_device()) + 2.0;
    (tensor(), tensor())
}

#[test]
fn merging_siblings_equals_building_their_union() {
    let (keys, values) = chunks(1);
    let build = |clusters| {
        let assignment = Assignment::split(&keys, clusters);
        Summary::build(keys.clone(), values.clone(), &assignment, StateForm::Whole)
    };
    let mut summary = build(8);
    for clusters in [4, 2, 1] {
        summary = summary.merge_siblings(None);
        let direct = build(clusters);
        assert_eq!(summary.clusters(), clusters);
        assert_close(&summary.counts, &direct.counts, 0.0, "counts");
        assert_close(&summary.keys, &direct.keys, 1e-5, "mean keys");
        assert_close(&summary.values, &direct.values, 1e-5, "mean values");
        let states = summary.state.clone().zip(direct.state).expect("states");
        assert_close(&states.0, &states.1, 1e-5, "states");
    }
    assert_eq!(summary.clone().merge_siblings(None).clusters(), 1);
}

#[test]
fn counts_add_up_and_means_are_those_of_the_chunk() {
    let (keys, values) = chunks(2);
    let assignment = Assignment::split(&keys, 4);
    let summary = Summary::build(keys.clone(), values, &assignment, StateForm::Off);
    assert!(summary.state.is_none());
    let total = summary.counts.clone().sum_dim(3);
    assert_close(&total, &(total.ones_like() * 8.0), 0.0, "tokens per chunk");
    let mean = keys.mean_dim(3).squeeze_dim(3);
    assert_close(&summary.mean_key(), &mean, 1e-5, "mean key");
}

#[test]
fn assignments_do_not_depend_on_what_is_beside_a_chunk() {
    let (keys, _) = chunks(3);
    let together = Assignment::split(&keys, 8);
    let size = 8;
    for chunk in 0..4 {
        let alone = Assignment::split(&keys.clone().narrow(2, chunk, 1).narrow(1, 2, 1), 8);
        for batch in 0..2 {
            let start = ((batch * 3 + 2) * 4 + chunk) * size;
            assert_eq!(
                &alone.ids()[batch * size..][..size],
                &together.ids()[start..start + size]
            );
        }
    }
}

#[test]
fn summaries_of_half_precision_keys_are_single() {
    if !test_device().supports_dtype(DType::BF16) {
        return;
    }
    let (keys, values) = chunks(4);
    let half = |x: &Tensor<5>| x.clone().cast(DType::BF16);
    let (keys, values) = (half(&keys), half(&values));
    let assignment = Assignment::split(&keys, 2);
    let summary = Summary::build(keys, values, &assignment, StateForm::Whole);
    assert_eq!(summary.keys.dtype(), DType::F32);
    assert_eq!(summary.values.dtype(), DType::F32);
    assert_eq!(summary.state.map(|s| s.dtype()), Some(DType::F32));
}
