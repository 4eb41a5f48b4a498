//! Attention maps contain the weights that produce the output.

use crate::common::{
    Sizes, arm, arms, assert_close, exact_arms, input, local, moments, test_device, with,
};
use bsbr_attention::{ArmConfig, Padding};
use burn::tensor::Tensor;

const SIZES: Sizes = Sizes {
    batch: 2,
    heads: 2,
    tokens: 29,
    head_dim: 5,
};

/// Arms whose output is nothing but weighted values.
fn arms_without_state() -> Vec<ArmConfig> {
    let stateless = |config: ArmConfig| match config {
        ArmConfig::Published(_) => None,
        ArmConfig::Moments(config) => Some(with(&config, "state=false,compression=1")),
        config => Some(config),
    };
    exact_arms().into_iter().filter_map(stateless).collect()
}

#[test]
fn weights_times_values_are_the_output() {
    let device = test_device();
    for config in arms_without_state() {
        let attention = arm(&config, SIZES, &device);
        let mut input = input(SIZES, 1, &device);
        input.padding = Padding::left(vec![0, 6]);
        let maps = attention.weights(input.clone());
        // A cluster's value is the mean of its tokens' values, so spreading its weight
        // over them changes nothing.
        let output = maps.spread().matmul(input.value.clone());
        assert_close(
            &output,
            &attention.forward(input),
            1e-5,
            &format!("{config:?}"),
        );
    }
}

#[test]
fn weights_of_chosen_queries_are_rows_of_all() {
    let device = test_device();
    let queries = [28, 0, 7, 13, 13];
    let places = Tensor::from_ints(queries.map(|query| query as i64), &device);
    for config in arms() {
        let attention = arm(&config, SIZES, &device);
        let input = input(SIZES, 5, &device);
        let all = attention.weights(input.clone());
        let some = attention.weights_of(input, &queries);
        let what = format!("{config:?}");
        let expected = all.spread().select(2, places.clone());
        assert_close(&some.spread(), &expected, 1e-6, &what);
        assert_eq!(some.pairs, all.pairs, "{what}");
    }
}

#[test]
fn weights_of_chosen_queries_count_from_the_first_real_token() {
    let device = test_device();
    for config in exact_arms() {
        let attention = arm(&config, SIZES, &device);
        let mut input = input(SIZES, 6, &device);
        input.padding = Padding::left(vec![6, 0]);
        let all = attention.weights(input.clone()).spread();
        let some = attention.weights_of(input, &[20]).spread();
        for (row, place) in [26, 20].into_iter().enumerate() {
            let [expected, found] = [(&all, place), (&some, 0)]
                .map(|(x, place)| x.clone().narrow(0, row, 1).narrow(2, place, 1));
            assert_close(&found, &expected, 1e-6, &format!("{config:?}, {row}"));
        }
    }
}

#[test]
fn weights_of_every_real_token_sum_to_one() {
    let device = test_device();
    for config in arms() {
        let attention = arm(&config, SIZES, &device);
        let mut input = input(SIZES, 2, &device);
        input.padding = Padding::left(vec![6, 0]);
        let maps = attention.weights(input);
        let mut expected = Tensor::<4>::ones([2, 2, 29, 1], &device);
        expected = expected.slice_fill([0..1, 0..2, 0..6], 0.0);
        let what = format!("{config:?}");
        assert_close(&maps.spread().sum_dim(3), &expected, 1e-5, &what);
        if let Some(clusters) = &maps.clusters {
            let both = maps.exact.clone().sum_dim(3) + clusters.weights.clone().sum_dim(3);
            assert_close(&both, &expected, 1e-5, &what);
        }
        if let Some(routing) = maps.routing {
            let rows = routing.sum_dim(3).max().into_scalar::<f32>();
            assert!((rows - 1.0).abs() < 1e-5, "{what}: {rows}");
        }
    }
}

#[test]
fn pairs_are_counted() {
    let device = test_device();
    let sizes = Sizes {
        batch: 1,
        heads: 1,
        tokens: 11,
        head_dim: 3,
    };
    let pairs = |config: &ArmConfig| {
        arm(config, sizes, &device)
            .weights(input(sizes, 3, &device))
            .pairs
    };
    let dense = pairs(&ArmConfig::DENSE);
    assert_eq!((dense.exact, dense.clusters, dense.dense), (66, 0, 66));
    // Sinks 0, 1; chunks 2–4, 5–7, 8–10; one chunk before the own one is near.
    let near = pairs(&local(3, 1, 2));
    assert_eq!((near.exact, near.clusters), (66 - 3 * 3, 0));
    let far = |exact_clusters| {
        let settings = format!("exact_clusters={exact_clusters},clusters=4");
        pairs(&with(&moments(3, 1, 2), &settings))
    };
    assert_eq!((far(0).exact, far(0).clusters), (57, 3 * 4));
    // Of three tokens in up to four clusters, four clusters hold all.
    assert_eq!(far(4).exact, 66);
}

#[test]
fn assignments_name_the_cluster_of_every_far_token() {
    let device = test_device();
    let config = ArmConfig::Moments(moments(4, 1, 2));
    let mut input = input(SIZES, 4, &device);
    input.padding = Padding::left(vec![0, 5]);
    let maps = arm(&config, SIZES, &device).weights(input);
    let clusters = maps.clusters.expect("there are far chunks");
    let assignment: Vec<i64> = clusters.assignment.to_data().iter::<i64>().collect();
    // 29 tokens: sinks 0, 1; seven chunks from 2 to 28, five of them far.
    let row: Vec<i64> = assignment[..29].iter().map(|c| c.div_euclid(2)).collect();
    let mut expected = vec![-1, -1];
    expected.extend((0..20).map(|t| t / 4));
    expected.extend([-1; 7]);
    assert_eq!(row, expected);
    let padded = &assignment[2 * 29..3 * 29];
    assert!(padded[..7].iter().all(|c| *c == -1), "padding and sinks");
    assert_eq!(padded[7].div_euclid(2), 0);
}
