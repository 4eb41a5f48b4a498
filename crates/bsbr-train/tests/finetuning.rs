//! Fine-tuning goes on where it was stopped, and changes what it should and nothing else.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use bsbr_gpt2::parameters::visit_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config};
use bsbr_train::finetune::{Dataset, FinetuneConfig, Finetuned, Objective, Trainable, finetune};
use bsbr_train::{Observer, RunOptions, StepReport, TrainError};
use burn::tensor::Device;

fn model() -> Gpt2 {
    let config = Gpt2Config::from_json(
        r#"{"model_type": "gpt2", "vocab_size": 60, "n_positions": 40, "n_embd": 16,
            "n_layer": 2, "n_head": 2, "bos_token_id": null, "eos_token_id": null,
            "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
            "bsbr": {"version": 1, "layers": [
                {"arm": "moments", "chunk_size": 8, "clusters": 2, "sink_tokens": 1},
                {"arm": "moments", "chunk_size": 8, "clusters": 2, "sink_tokens": 1}]}}"#,
    )
    .unwrap();
    bsbr_train::init(&config, 4, &Device::default()).unwrap()
}

fn data() -> Dataset {
    let ids = (0..600u32).map(|i| (i * i / 7) % 60).collect();
    Dataset::tokens(ids, 32, "made up".into()).unwrap()
}

struct Watch {
    stop_after: u64,
    last: u64,
}

impl Observer for Watch {
    fn step(&mut self, report: &StepReport) {
        self.last = report.step;
    }

    fn message(&mut self, _: &str) {}

    fn validate(&mut self, _: u64, _: &Gpt2) {}

    fn should_stop(&self) -> bool {
        self.last == self.stop_after
    }
}

fn run(config: &FinetuneConfig, folder: &Path, stop_after: u64) -> Result<Finetuned, TrainError> {
    let options = RunOptions {
        checkpoint_every: Duration::from_secs(3600),
        validate_every: 100,
    };
    let mut watch = Watch {
        stop_after,
        last: 0,
    };
    let original = model();
    finetune(
        config,
        model(),
        Some(&original),
        &data(),
        folder,
        &options,
        &mut watch,
    )
}

fn tensors(model: &Gpt2) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    visit_tensors(model, |name, data| {
        all.push((name.to_owned(), data.as_bytes().to_vec()));
    });
    assert!(all.len() > 20);
    all
}

fn with(objective: Objective, train: Trainable) -> FinetuneConfig {
    FinetuneConfig {
        seed: 2,
        epochs: 2,
        objective,
        train,
        grad_accumulation: 3,
        ..FinetuneConfig::default()
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_weights() {
    let distill = Objective::Distill {
        temperature: 2.0,
        mix: 0.5,
    };
    let lora = Trainable::Lora {
        rank: 2,
        alpha: 4.0,
    };
    for config in [
        with(Objective::Lm, Trainable::All),
        with(distill, lora),
        with(Objective::Transfer, Trainable::Attention),
    ] {
        let whole = tempfile::tempdir().unwrap();
        let expected = run(&config, whole.path(), 0).unwrap();
        assert!(expected.done);
        let folder = tempfile::tempdir().unwrap();
        let stopped = run(&config, folder.path(), 3).unwrap();
        assert!(!stopped.done);
        let resumed = run(&config, folder.path(), 0).unwrap();
        assert_eq!(
            tensors(&resumed.model),
            tensors(&expected.model),
            "{config:?}"
        );
        assert_eq!(resumed.history, expected.history);
    }
}

#[test]
fn training_the_attention_leaves_the_rest_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let config = with(Objective::Lm, Trainable::Attention);
    let tuned = run(&config, folder.path(), 0).unwrap();
    let mut changed = 0;
    for ((name, before), (_, after)) in tensors(&model()).into_iter().zip(tensors(&tuned.model)) {
        match name.contains(".attn.") {
            true => changed += usize::from(before != after),
            false => assert!(before == after, "{name} changed"),
        }
    }
    assert!(changed >= 8, "{changed} tensors of the attention changed");
}

#[test]
fn training_lowers_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = with(Objective::Lm, Trainable::All);
    config.optimizer.learning_rate = 1e-2;
    let history = run(&config, folder.path(), 0).unwrap().history;
    let losses = &history.losses;
    assert!(losses.last() < losses.first(), "{losses:?}");
    assert_eq!(history.validations.len(), 3);
}

#[test]
fn moments_without_parameters_of_their_own_cannot_train_them() {
    let folder = tempfile::tempdir().unwrap();
    let error = run(&with(Objective::Lm, Trainable::Retrieval), folder.path(), 0).unwrap_err();
    assert!(matches!(error, TrainError::Config { .. }), "{error}");
}
