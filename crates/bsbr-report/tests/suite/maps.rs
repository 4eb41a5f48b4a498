//! Weights found by one-hot values compared with those that the arms report.

use bsbr_attention::{ArmConfig, AttentionInput, LocalConfig, MomentsConfig};
use bsbr_gpt2::TokenBatch;
use bsbr_report::arms;
use bsbr_report::compare::host;

use crate::tiny;

/// The first layer's attention input on some tokens, and what it gives with an arm.
fn found_and_named(arm: &ArmConfig) -> (Vec<f32>, Vec<f32>) {
    let dense = tiny::model(300);
    let calibration: Vec<Vec<u32>> = (0..4)
        .map(|text| (0..90).map(|i| (i * 37 + text * 11) % 300).collect())
        .collect();
    let model = arms::convert(&dense, arm, &calibration).unwrap();
    let ids: Vec<u32> = (0..90).map(|i| (i * i * 7 + 3) % 300).collect();
    let batch = TokenBatch::single(&ids).unwrap();
    let mut seen: Option<AttentionInput> = None;
    let block = &model.h[0];
    block.forward_with(
        model.embed(&batch, 0),
        batch.padding(),
        |attention, input| {
            seen = Some(input.clone());
            attention.forward(input)
        },
    );
    let input = seen.unwrap();
    let named = host(block.attn.bsbr.weights(input.clone()).spread()).unwrap();
    (arms::weights(&block.attn.bsbr, input).unwrap(), named)
}

fn moments(state: bool, compression: usize) -> ArmConfig {
    ArmConfig::Moments(MomentsConfig {
        chunk_size: 16,
        near_chunks: 1,
        sink_tokens: 2,
        clusters: 4,
        state,
        exact_clusters: 0,
        compression,
        learned: false,
        ..MomentsConfig::summaries()
    })
}

#[test]
fn without_a_state_they_are_the_softmax_weights() {
    let local = ArmConfig::Local(LocalConfig {
        chunk_size: 16,
        near_chunks: 1,
        sink_tokens: 2,
    });
    for arm in [ArmConfig::DENSE, local, moments(false, 1)] {
        let (found, named) = found_and_named(&arm);
        let worst = found
            .iter()
            .zip(&named)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        // f32 sums of 90 terms below 1.
        assert!(worst < 1e-5, "{}: {worst}", arm.name());
    }
}

#[test]
fn a_state_moves_weight_within_clusters_but_adds_none() {
    for compression in [1, 4] {
        let (found, named) = found_and_named(&moments(true, compression));
        let mut moved = 0.0f32;
        for (found, named) in found.chunks_exact(90).zip(named.chunks_exact(90)) {
            let total: f32 = found.iter().sum();
            assert!((total - 1.0).abs() < 1e-4, "{total}");
            let differences = found.iter().zip(named).map(|(a, b)| (a - b).abs());
            moved = moved.max(differences.fold(0.0, f32::max));
        }
        assert!(moved > 1e-4, "compression {compression}: {moved}");
    }
}
