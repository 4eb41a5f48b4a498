//! A backward pass that computes blocks a second time gives the same gradients.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bsbr_attention::{ArmConfig, LocalConfig, MomentsConfig, PublishedConfig};
use bsbr_convert::ConversionPlan;
use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::parameters::visit_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use bsbr_train::finetune::{Dataset, FinetuneConfig, Objective, Trainable, finetune};
use bsbr_train::gradients::of_next_tokens;
use bsbr_train::{Recompute, RunOptions, StepReport, TrainingObserver, activations};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

/// Tokens of a chunk.
const CHUNK: usize = 6;

fn dense(tied: bool) -> Gpt2 {
    let config = Gpt2Config {
        vocab_size: 61,
        n_positions: 40,
        n_embd: 24,
        n_layer: 3,
        n_head: 3,
        bos_token_id: None,
        eos_token_id: None,
        tie_word_embeddings: tied,
        ..Gpt2Config::default()
    };
    bsbr_train::init(&config, 5, &Device::default()).unwrap()
}

fn converted(arm: &ArmConfig, tied: bool) -> Gpt2 {
    let model = bsbr_convert::convert(dense(tied), &ConversionPlan::uniform(arm.clone())).unwrap();
    if arm.compression() == 1 {
        return model;
    }
    let batch = TokenBatch::single(&(0..40).collect::<Vec<u32>>()).unwrap();
    bsbr_convert::calibrate(model, &[batch]).unwrap()
}

fn arms() -> Vec<ArmConfig> {
    let moments = MomentsConfig {
        chunk_size: CHUNK,
        near_chunks: 1,
        sink_tokens: 2,
        clusters: 2,
        ..MomentsConfig::summaries()
    };
    let local = LocalConfig {
        chunk_size: CHUNK,
        near_chunks: 0,
        sink_tokens: 1,
    };
    let published = PublishedConfig {
        chunk_size: CHUNK,
        compression: 1,
    };
    let with = |change: fn(&mut MomentsConfig)| {
        let mut config = moments.clone();
        change(&mut config);
        ArmConfig::Moments(config)
    };
    vec![
        ArmConfig::DENSE,
        ArmConfig::Local(local),
        ArmConfig::Published(published),
        with(|_| {}),
        with(|config| config.state = false),
        with(|config| config.exact_clusters = 1),
        with(|config| config.compression = 4),
        with(|config| config.learned = true),
    ]
}

fn windows(rows: usize, tokens: usize) -> Vec<TrainWindow> {
    let window = |row: usize| TrainWindow {
        ids: (0..=tokens)
            .map(|i| ((i * i + 7 * row) % 61) as u32)
            .collect(),
        weights: (0..tokens).map(|i| 1.0 + (i % 3) as f32).collect(),
    };
    (0..rows).map(window).collect()
}

/// Bits of the gradient of each parameter that has one, by name.
fn bits(model: &Gpt2, grads: GradientsParams) -> BTreeMap<String, Vec<u32>> {
    struct Collect {
        path: Vec<String>,
        grads: GradientsParams,
        found: BTreeMap<String, Vec<u32>>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.remove::<D>(param.id) {
                let values = grad.into_data().iter::<f32>().map(f32::to_bits).collect();
                self.found.insert(self.path.join("."), values);
            }
        }
    }
    let mut collect = Collect {
        path: Vec::new(),
        grads,
        found: BTreeMap::new(),
    };
    model.visit(&mut collect);
    collect.found
}

#[test]
fn every_arm_has_the_same_gradients_bit_for_bit() {
    gradients_are_the_same(|model| model);
}

/// The packed weights are those of both passes.
#[test]
fn gradients_of_products_in_bf16_are_the_same_bit_for_bit() {
    gradients_are_the_same(Gpt2::with_bf16_training);
}

fn gradients_are_the_same(prepare: fn(Gpt2) -> Gpt2) {
    for arm in arms() {
        for (rows, tokens) in [(1, 1), (3, CHUNK - 1), (1, CHUNK + 1), (3, 5 * CHUNK + 1)] {
            let model = prepare(converted(&arm, rows == 3).train());
            let windows = windows(rows, tokens);
            let kept = of_next_tokens(&model, &windows, false).unwrap();
            let again = of_next_tokens(&model, &windows, true).unwrap();
            assert_eq!(kept.1, again.1, "{arm:?}: the losses differ");
            let (kept, again) = (bits(&model, kept.0), bits(&model, again.0));
            assert!(kept.len() >= 40, "{} gradients", kept.len());
            assert_eq!(
                kept.keys().collect::<Vec<_>>(),
                again.keys().collect::<Vec<_>>(),
                "{arm:?}, {rows} rows of {tokens} tokens"
            );
            for (name, kept) in &kept {
                assert!(
                    *kept == again[name],
                    "{arm:?}, {rows} rows of {tokens} tokens: {name} differs"
                );
            }
        }
    }
}

struct Nobody;

impl TrainingObserver for Nobody {
    fn step(&mut self, _: &StepReport) {}

    fn message(&mut self, _: &str) {}

    fn validate(&mut self, _: u64, _: &Gpt2) {}
}

fn tuned(config: &FinetuneConfig, recompute: Recompute, folder: &Path) -> Vec<Vec<u8>> {
    let arm = arms().swap_remove(3);
    let ids = (0..400u32).map(|i| (i * i / 7) % 61).collect();
    let data = Dataset::tokens(ids, 32, "made up".into()).unwrap();
    let options = RunOptions {
        checkpoint_every: Duration::from_secs(3600),
        recompute,
        ..RunOptions::default()
    };
    let original = dense(true);
    let start = converted(&arm, true);
    let tuned = finetune(
        config,
        start,
        Some(&original),
        &data,
        folder,
        &options,
        &mut Nobody,
    );
    let mut all = Vec::new();
    visit_tensors(&tuned.unwrap().model, |_, data| {
        all.push(data.as_bytes().to_vec());
    });
    all
}

/// For every objective, and for frozen or adapted parameters.
#[test]
fn runs_end_with_the_same_weights() {
    let distill = Objective::Distill {
        temperature: 2.0,
        mix: 0.5,
    };
    let lora = Trainable::Lora {
        rank: 2,
        alpha: 4.0,
    };
    for (objective, train) in [
        (Objective::Lm, Trainable::All),
        (Objective::Lm, Trainable::Retrieval),
        (distill, Trainable::Attention),
        (distill, lora),
    ] {
        let config = FinetuneConfig {
            objective,
            train,
            ..FinetuneConfig::default()
        };
        let run = |recompute| {
            let folder = tempfile::tempdir().unwrap();
            tuned(&config, recompute, folder.path())
        };
        let [off, on] = [Recompute::Off, Recompute::On].map(run);
        assert!(off == on, "{objective:?}, {train:?}: the weights differ");
    }
}

#[test]
fn auto_keeps_activations_where_they_are_few() {
    let gpt2 = Gpt2Config::default();
    assert!(!Recompute::Auto.applies(&gpt2, 256));
    assert!(Recompute::Auto.applies(&gpt2, 4096));
    assert!(Recompute::On.applies(&gpt2, 1) && !Recompute::Off.applies(&gpt2, 1 << 20));
    assert_eq!(activations(&gpt2, 20), 20 * activations(&gpt2, 1));
}
