//! Fine-tuning resumes where it stopped, and changes only the trained parameters.

use std::path::Path;
use std::time::Duration;

use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::parameters::{replace_tensors, visit_tensors};
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use bsbr_train::finetune::{
    Dataset, FinetuneConfig, Finetuned, Mix, Objective, Trainable, finetune,
};
use bsbr_train::{Devices, RunOptions, StepReport, Strategy, TrainError, TrainingObserver};
use burn::tensor::{Device, TensorData};

/// What is changed, and how.
type Change<C> = (&'static str, fn(&mut C));

fn model() -> Gpt2 {
    let config = Gpt2Config::from_json(
        r#"{"model_type": "gpt2", "vocab_size": 60, "n_positions": 40, "n_embd": 16,
            "n_layer": 2, "n_head": 2, "bos_token_id": null, "eos_token_id": null,
            "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
            "bsbr": {"version": 1, "layers": [
                {"arm": "moments", "chunk_size": 8, "clusters": 2, "sink_tokens": 1, "state": true, "exact_clusters": 0},
                {"arm": "moments", "chunk_size": 8, "clusters": 2, "sink_tokens": 1, "state": true, "exact_clusters": 0}]}}"#,
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

impl TrainingObserver for Watch {
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
    run_on(Devices::default(), config, folder, stop_after)
}

fn run_on(
    devices: Devices,
    config: &FinetuneConfig,
    folder: &Path,
    stop_after: u64,
) -> Result<Finetuned, TrainError> {
    let options = RunOptions {
        checkpoint_every: Duration::from_secs(3600),
        devices,
        ..RunOptions::default()
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

/// Of runs that are the same but for the order of sums.
fn assert_near(found: &Finetuned, expected: &Finetuned, what: &str) {
    let pairs = found.history.losses.iter().zip(&expected.history.losses);
    for (found, expected) in pairs {
        assert!(
            (found - expected).abs() < 1e-5 * expected.abs().max(1.0),
            "{what}: a loss of {found}, expected {expected}"
        );
    }
    assert_eq!(found.history.losses.len(), expected.history.losses.len());
    let values = |tuned: &Finetuned| -> Vec<f32> {
        let mut all = Vec::new();
        visit_tensors(&tuned.model, |_, data| all.extend(data.iter::<f32>()));
        all
    };
    let (mut sum, mut moved) = (0.0f64, 0.0f64);
    let start = values(&Finetuned {
        model: model(),
        history: expected.history.clone(),
        done: true,
    });
    let (found, expected) = (values(found), values(expected));
    assert_eq!(found.len(), expected.len());
    for ((found, expected), start) in found.iter().zip(&expected).zip(&start) {
        sum += f64::from(found - expected).powi(2);
        moved += f64::from(expected - start).powi(2);
    }
    // Of the way that the training went. The biases of the keys have no gradient but rounding, and
    // AdamW makes whole steps of that.
    assert!(
        moved > 0.0 && sum < 1e-3 * moved,
        "{what}: {sum} of {moved}"
    );
}

#[test]
fn two_devices_make_the_steps_of_one_and_go_on_where_they_were_stopped() {
    let distill = Objective::Distill {
        temperature: 2.0,
        mix: 0.5,
    };
    let lora = Trainable::Lora {
        rank: 2,
        alpha: 4.0,
    };
    let two = || Devices::new(vec![Device::default(); 2], Strategy::MultiDevice).unwrap();
    // Three micro-batches a step: the devices' shares differ.
    for config in [
        with(Objective::Lm, Trainable::All),
        with(distill, lora),
        with(Objective::Transfer, Trainable::Attention),
    ] {
        let name = format!("{config:?}");
        let folder = tempfile::tempdir().unwrap();
        let expected = run(&config, folder.path(), 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let found = run_on(two(), &config, folder.path(), 0).unwrap();
        assert_near(&found, &expected, &name);

        let folder = tempfile::tempdir().unwrap();
        let stopped = run_on(two(), &config, folder.path(), 3).unwrap();
        assert!(!stopped.done);
        let resumed = run_on(two(), &config, folder.path(), 0).unwrap();
        assert_eq!(tensors(&resumed.model), tensors(&found.model), "{name}");
    }
}

#[test]
fn a_run_goes_on_with_other_devices() {
    // Two windows in an epoch's last step: one device of three has nothing to do.
    let config = FinetuneConfig {
        grad_accumulation: 4,
        ..with(Objective::Lm, Trainable::All)
    };
    let folder = tempfile::tempdir().unwrap();
    let expected = run(&config, folder.path(), 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    run(&config, folder.path(), 3).unwrap();
    let three = Devices::new(vec![Device::default(); 3], Strategy::MultiDevice).unwrap();
    let found = run_on(three, &config, folder.path(), 0).unwrap();
    assert_near(&found, &expected, "one device, then three");
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
fn training_the_retrieval_changes_what_the_arm_was_given_for_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = with(Objective::Lm, Trainable::Retrieval);
    let tuned = run(&config, folder.path(), 0).unwrap();
    assert!(tuned.history.losses.iter().all(|loss| loss.is_finite()));
    let untrained = run(&with(Objective::Lm, Trainable::All), folder.path(), 0);
    assert!(untrained.is_err(), "its checkpoints are of another run");

    let before: std::collections::BTreeMap<_, _> = tensors(&model().with_learned_retrieval())
        .into_iter()
        .collect();
    let after = tensors(&tuned.model);
    assert_eq!(before.len(), after.len());
    let own = [
        "routing.",
        "tuning.temperature",
        "tuning.bias",
        "tuning.gain",
    ];
    for part in own {
        let all = after.iter().filter(|(name, _)| name.contains(part));
        let changed = all.filter(|(name, bytes)| before[name] != *bytes).count();
        assert!(changed >= 2, "{part} of {changed} layers changed");
    }
    for (name, bytes) in &after {
        let fixed = !name.contains(".attn.bsbr.");
        assert!(!fixed || before[name] == *bytes, "{name} changed");
    }
}

#[test]
fn what_the_retrieval_is_given_changes_nothing() {
    let batch = TokenBatch::single(&(0..40).collect::<Vec<u32>>()).unwrap();
    let of = |model: Gpt2| -> Vec<f32> {
        let hidden = model.hidden_states(&batch).unwrap();
        hidden.into_data().iter::<f32>().collect()
    };
    let (before, after) = (of(model()), of(model().with_learned_retrieval()));
    for (before, after) in before.iter().zip(&after) {
        // The mean of projections is the projection of the mean but for rounding.
        assert!((before - after).abs() < 1e-5, "{before}, {after}");
    }
}

#[test]
fn an_arm_without_parameters_of_its_own_cannot_train_them() {
    let plan = bsbr_convert::ConversionPlan::parse("local:chunk_size=8", None).unwrap();
    let local = bsbr_convert::convert(model(), &plan).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions {
        checkpoint_every: Duration::from_secs(3600),
        ..RunOptions::default()
    };
    let error = finetune(
        &with(Objective::Lm, Trainable::Retrieval),
        local,
        None,
        &data(),
        folder.path(),
        &options,
        &mut Watch {
            stop_after: 0,
            last: 0,
        },
    );
    let error = error.unwrap_err();
    assert!(matches!(error, TrainError::Config { .. }), "{error}");
}

/// Why a run cannot start, or go on.
fn refusal(
    config: &FinetuneConfig,
    model: Gpt2,
    original: Option<&Gpt2>,
    data: &Dataset,
) -> TrainError {
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions::default();
    let mut watch = Watch {
        stop_after: 0,
        last: 0,
    };
    finetune(
        config,
        model,
        original,
        data,
        folder.path(),
        &options,
        &mut watch,
    )
    .unwrap_err()
}

/// A dense model of other sizes than [`model`], or of the same.
fn dense(change: impl FnOnce(&mut Gpt2Config)) -> Gpt2 {
    let mut config = Gpt2Config {
        bsbr: None,
        ..model().config()
    };
    change(&mut config);
    bsbr_train::init(&config, 4, &Device::default()).unwrap()
}

#[test]
fn an_original_of_other_sizes_is_refused() {
    let changes: [Change<Gpt2Config>; 4] = [
        ("n_layer", |config| config.n_layer = 3),
        ("n_embd", |config| config.n_embd = 32),
        ("vocab_size", |config| config.vocab_size = 64),
        ("n_positions", |config| config.n_positions = 48),
    ];
    let config = with(Objective::Transfer, Trainable::All);
    for (name, change) in changes {
        let error = refusal(&config, model(), Some(&dense(change)), &data());
        assert!(matches!(error, TrainError::Config { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_model_whose_states_were_never_calibrated_is_refused() {
    let arm = "moments:chunk_size=8,clusters=2,sink_tokens=1,state=true,compression=4";
    let plan = bsbr_convert::ConversionPlan::parse(arm, None).unwrap();
    let compressed = bsbr_convert::convert(model(), &plan).unwrap();
    let config = with(Objective::Lm, Trainable::All);
    let error = refusal(&config, compressed, None, &data());
    assert!(matches!(error, TrainError::Config { .. }), "{error}");
    assert!(error.to_string().contains("calibrate"), "{error}");
}

#[test]
fn a_validation_loss_that_is_no_number_ends_the_run_as_divergence() {
    // A token that only the windows kept back hold, and whose embedding is no number. The output
    // table is another's, so that nothing else is touched.
    const TOKEN: usize = 55;
    let mut ids: Vec<u32> = (0..600).map(|i| i * i / 7 % 50).collect();
    ids[590] = TOKEN as u32;
    let data = Dataset::tokens(ids, 32, "made up".into()).unwrap();
    let model = dense(|config| config.tie_word_embeddings = false);
    let mut table: Vec<f32> = Vec::new();
    visit_tensors(&model, |name, data| {
        if name == "wte.weight" {
            table = data.iter::<f32>().collect();
        }
    });
    table[TOKEN * 16..(TOKEN + 1) * 16].fill(f32::NAN);
    let model = replace_tensors(model, |name, shape| {
        (name == "wte.weight").then(|| TensorData::new(table.clone(), shape.to_vec()))
    });
    let error = refusal(&with(Objective::Lm, Trainable::All), model, None, &data);
    assert!(
        matches!(error, TrainError::Diverged { step: 0, .. }),
        "{error}"
    );
}

#[test]
fn settings_that_no_run_can_have_are_named() {
    let changes: [Change<FinetuneConfig>; 7] = [
        ("beta_1", |config| config.optimizer.beta_1 = 1.0),
        ("beta_1", |config| config.optimizer.beta_1 = -0.1),
        // 1 in f32.
        ("beta_2", |config| config.optimizer.beta_2 = 1.0 - 1e-12),
        ("beta_2", |config| config.optimizer.beta_2 = f64::NAN),
        ("weight_decay", |config| {
            config.optimizer.weight_decay = -0.1
        }),
        ("lora", |config| {
            config.train = Trainable::Lora {
                rank: 2,
                alpha: f64::NAN,
            };
        }),
        ("lora", |config| {
            config.train = Trainable::Lora {
                rank: 1 << 40,
                alpha: 4.0,
            };
        }),
    ];
    for (name, change) in changes {
        let mut config = with(Objective::Lm, Trainable::All);
        change(&mut config);
        let error = refusal(&config, model(), None, &data());
        assert!(matches!(error, TrainError::Config { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// A run does not resume from the checkpoint of another run; the error names what has changed.
#[test]
fn what_changed_since_a_checkpoint_is_named() {
    let config = FinetuneConfig {
        epochs: 1,
        ..with(
            Objective::Distill {
                temperature: 1.0,
                mix: 0.5,
            },
            Trainable::All,
        )
    };
    let folder = tempfile::tempdir().unwrap();
    run(&config, folder.path(), 2).unwrap();
    let other_model = replace_tensors(model(), |name, shape| {
        (name == "ln_f.bias").then(|| TensorData::new(vec![0.5f32; 16], shape.to_vec()))
    });
    let other_ids = (0..601u32).map(|i| (i * i / 7) % 60).collect();
    let other_data = Dataset::tokens(other_ids, 32, "made up".into()).unwrap();
    let plan = bsbr_convert::ConversionPlan::parse("local:chunk_size=8", None).unwrap();
    let other_arm = bsbr_convert::convert(model(), &plan).unwrap();
    let other_config = FinetuneConfig {
        seed: 9,
        ..config.clone()
    };
    let original = model();
    let refused = |config: &FinetuneConfig, model: Gpt2, original: &Gpt2, data: &Dataset| {
        let options = RunOptions::default();
        let mut watch = Watch {
            stop_after: 0,
            last: 0,
        };
        let ended = finetune(
            config,
            model,
            Some(original),
            data,
            folder.path(),
            &options,
            &mut watch,
        );
        match ended {
            Err(TrainError::Checkpoint { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    };
    let parts = [
        "set of settings",
        "data set",
        "configuration of the model",
        "another model",
    ];
    for (message, named) in [
        (
            refused(&config, other_model.clone(), &original, &data()),
            &parts[3..],
        ),
        (
            refused(&config, model(), &other_model, &data()),
            &parts[3..],
        ),
        (
            refused(&config, model(), &original, &other_data),
            &parts[1..2],
        ),
        (
            refused(&other_config, model(), &original, &data()),
            &parts[..1],
        ),
        (
            refused(&config, other_arm, &original, &data()),
            &parts[2..3],
        ),
    ] {
        for part in parts {
            assert_eq!(
                message.contains(part),
                named.contains(&part),
                "{part}: {message}"
            );
        }
    }
    assert!(run(&config, folder.path(), 0).unwrap().done);
}

/// Two runs in one folder would remove each other's checkpoints.
#[test]
fn a_second_run_in_a_folder_is_refused_and_names_the_first() {
    struct Second<'a>(&'a Path, Option<String>);

    impl TrainingObserver for Second<'_> {
        fn step(&mut self, _: &StepReport) {
            let config = with(Objective::Lm, Trainable::All);
            self.1 = run(&config, self.0, 1).err().map(|error| error.to_string());
        }

        fn message(&mut self, _: &str) {}

        fn validate(&mut self, _: u64, _: &Gpt2) {}

        fn should_stop(&self) -> bool {
            true
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let mut second = Second(folder.path(), None);
    let config = with(Objective::Lm, Trainable::All);
    let options = RunOptions::default();
    let original = model();
    finetune(
        &config,
        model(),
        Some(&original),
        &data(),
        folder.path(),
        &options,
        &mut second,
    )
    .unwrap();
    let message = second.1.unwrap();
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    assert!(run(&config, folder.path(), 0).unwrap().done);
}

/// A model that only gets worse is trained for as many epochs as patience allows, and no more.
#[test]
fn patience_ends_a_run_that_gets_no_better() {
    let epochs = |patience: u64| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = FinetuneConfig {
            epochs: 4,
            patience,
            ..with(Objective::Lm, Trainable::All)
        };
        // So large a step only does harm.
        config.optimizer.learning_rate = 3.0;
        config.optimizer.warmup_share = 0.0;
        let tuned = run(&config, folder.path(), 0).unwrap();
        assert!(tuned.done);
        let losses: Vec<f64> = tuned
            .history
            .validations
            .iter()
            .map(|one| one.loss)
            .collect();
        assert!(
            losses[1..].iter().all(|loss| *loss > losses[0]),
            "{losses:?}"
        );
        losses.len() - 1
    };
    assert_eq!([0, 1, 2, 3, 9].map(epochs), [4, 1, 2, 3, 4]);
}

#[test]
fn a_token_that_the_model_has_no_row_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ids = (0..100)
        .map(|at| if at == 70 { 60 } else { at % 60 })
        .collect();
    let data = Dataset::tokens(ids, 32, "made up".into()).unwrap();
    let (config, options) = (with(Objective::Lm, Trainable::All), RunOptions::default());
    let mut watch = Watch {
        stop_after: 0,
        last: 0,
    };
    let error = finetune(
        &config,
        model(),
        None,
        &data,
        folder.path(),
        &options,
        &mut watch,
    );
    let text = error.unwrap_err().to_string();
    assert!(text.contains("id 60") && text.contains("60 rows"), "{text}");
}

#[test]
fn the_mix_decides_how_much_answers_weigh() {
    let text = Storybook::new(7).plain(Split::Train, Domain::Tale, 0, 600);
    let tokenizer = TextTokenizer::train_bpe([text.text], 400).unwrap();
    let heavy = |mix: Mix| {
        let data = Dataset::storybook(&tokenizer, mix, 3, 1024, 20, 20).unwrap();
        let checks: Vec<_> = data.validation().map(Result::unwrap).collect();
        assert!(
            checks
                .iter()
                .flat_map(|one| &one.weights)
                .all(|&w| w == 1.0)
        );
        let windows = (0..20).map(|index| data.window(index).unwrap());
        let with_answers = |weights: Vec<f32>| weights.contains(&5.0);
        windows
            .filter(|one| with_answers(one.weights.clone()))
            .count()
    };
    assert_eq!(heavy(Mix::Plain), 0);
    assert_ne!(heavy(Mix::Questions), 0);
}
