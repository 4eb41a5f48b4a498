//! An interrupted run ends with the weights of an uninterrupted one, bit for bit.

use std::path::Path;
use std::time::Duration;

use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::stream::StreamConfig;
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::parameters::visit_tensors;
use bsbr_gpt2::{Activation, Gpt2, Gpt2Config};
use bsbr_train::config::{ModelShape, OptimizerConfig, Stage};
use bsbr_train::{
    Devices, PretrainConfig, RunOptions, Start, StepReport, Strategy, TrainError, TrainingObserver,
    pretrain,
};
use burn::module::Module;
use burn::tensor::Device;

/// What is changed, and how.
type Change<C> = (&'static str, fn(&mut C));

fn tokenizer() -> TextTokenizer {
    let texts =
        Domain::ALL.map(|domain| Storybook::new(7).plain(Split::Train, domain, 0, 600).text);
    TextTokenizer::train_bpe(texts, 400).unwrap()
}

fn config() -> PretrainConfig {
    let stage = |steps, window, rows| Stage {
        steps,
        rows,
        micro_rows: 1,
        stream: StreamConfig::for_window(3, window),
    };
    PretrainConfig {
        seed: 3,
        model: ModelShape {
            n_positions: 96,
            n_embd: 24,
            n_layer: 2,
            n_head: 2,
        },
        optimizer: OptimizerConfig {
            matrix_lr: 0.02,
            other_lr: 0.01,
            position_lr: 0.001,
            weight_decay: 0.01,
            warmup_steps: 2,
            schedule_steps: 7,
            final_share: 0.1,
            clip_norm: 1.0,
        },
        // Three windows a step: two threads and one left over.
        stages: vec![stage(4, 24, 3), stage(3, 48, 1)],
    }
}

/// Stops after a number of steps, and remembers what it was told.
#[derive(Default)]
struct Watch {
    stop_after: Option<u64>,
    steps: Vec<u64>,
    losses: Vec<f64>,
    messages: Vec<String>,
}

impl TrainingObserver for Watch {
    fn step(&mut self, report: &StepReport) {
        self.steps.push(report.step);
        self.losses.push(report.loss);
    }

    fn message(&mut self, text: &str) {
        self.messages.push(text.to_owned());
    }

    fn validate(&mut self, _: u64, _: &Gpt2) {}

    fn should_stop(&self) -> bool {
        self.stop_after.is_some() && self.stop_after == self.steps.last().copied()
    }
}

fn run(
    config: &PretrainConfig,
    folder: &Path,
    checkpoint_every: Duration,
    watch: &mut Watch,
) -> Result<Gpt2, TrainError> {
    run_from(None, config, folder, checkpoint_every, watch)
}

fn run_from(
    model: Option<&Gpt2>,
    config: &PretrainConfig,
    folder: &Path,
    checkpoint_every: Duration,
    watch: &mut Watch,
) -> Result<Gpt2, TrainError> {
    let options = RunOptions {
        checkpoint_every,
        validate_every: 100,
        ..RunOptions::default()
    };
    run_with(options, model, config, folder, watch)
}

fn run_with(
    options: RunOptions,
    model: Option<&Gpt2>,
    config: &PretrainConfig,
    folder: &Path,
    watch: &mut Watch,
) -> Result<Gpt2, TrainError> {
    let device = Device::default();
    pretrain(
        config,
        Start {
            tokenizer: &tokenizer(),
            tokenizer_hash: "a hash",
            model,
        },
        folder,
        &device,
        &options,
        watch,
    )
}

const NEVER: Duration = Duration::from_secs(3600);

fn bits(model: &Gpt2) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    visit_tensors(model, |name, data| {
        all.push((name.to_owned(), data.as_bytes().to_vec()));
    });
    assert!(all.len() > 20);
    all
}

fn uninterrupted() -> (Vec<(String, Vec<u8>)>, Vec<f64>) {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch::default();
    let model = run(&config(), folder.path(), NEVER, &mut watch).unwrap();
    (bits(&model), watch.losses)
}

#[test]
fn a_stopped_run_goes_on_to_the_same_weights() {
    let (weights, losses) = uninterrupted();
    assert!(losses.last() < losses.first(), "{losses:?}");
    let folder = tempfile::tempdir().unwrap();
    // Within the first stage, and at the seam of the two.
    for stop_after in [2, 4] {
        let mut watch = Watch {
            stop_after: Some(stop_after),
            ..Watch::default()
        };
        run(&config(), folder.path(), NEVER, &mut watch).unwrap();
        assert_eq!(watch.steps.last(), Some(&stop_after));
    }
    let mut watch = Watch::default();
    let model = run(&config(), folder.path(), NEVER, &mut watch).unwrap();
    assert_eq!(watch.steps, [5, 6, 7]);
    assert_eq!(watch.losses, losses[4..]);
    assert_eq!(bits(&model), weights);
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch {
        stop_after: Some(5),
        ..Watch::default()
    };
    run(&config(), folder.path(), Duration::ZERO, &mut watch).unwrap();
    let newest = folder.path().join("step-00000005.safetensors");
    let whole = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &whole[..whole.len() / 2]).unwrap();
    // What a run that was killed while it wrote leaves behind.
    std::fs::write(folder.path().join("step-00000006.tmp"), &whole[..100]).unwrap();

    let mut watch = Watch::default();
    let model = run(&config(), folder.path(), NEVER, &mut watch).unwrap();
    assert_eq!(watch.steps, [5, 6, 7]);
    assert!(
        watch.messages[0].contains("step-00000005"),
        "{:?}",
        watch.messages
    );
    assert_eq!(bits(&model), uninterrupted().0);
}

#[test]
fn refused_checkpoints_of_later_steps_do_not_push_out_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    for step in [90, 91] {
        let name = format!("step-{step:08}.safetensors");
        std::fs::write(folder.path().join(name), "damaged").unwrap();
    }
    let mut watch = Watch {
        stop_after: Some(3),
        ..Watch::default()
    };
    run(&config(), folder.path(), Duration::ZERO, &mut watch).unwrap();
    assert_eq!(watch.steps, [1, 2, 3]);
    let of =
        |message: &str, step: &str, end: &str| message.contains(step) && message.ends_with(end);
    let messages = &watch.messages;
    assert!(
        of(&messages[0], "step-00000091", "the previous one"),
        "{messages:?}"
    );
    assert!(
        of(&messages[1], "step-00000090", "from the beginning"),
        "{messages:?}"
    );
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["step-00000002.safetensors", "step-00000003.safetensors"]
    );
}

/// `bytes` with the first `from` in them turned into `to`.
fn turned(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .unwrap();
    let mut bytes = bytes.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[test]
fn a_header_that_is_not_what_was_written_is_damage_too() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = |steps: &[u64]| {
        let mut watch = Watch {
            stop_after: Some(3),
            ..Watch::default()
        };
        let result = run(&config(), folder.path(), Duration::ZERO, &mut watch);
        if result.is_ok() {
            assert_eq!(watch.steps, steps);
        }
        result.map(|_| watch.messages)
    };
    stopped(&[1, 2, 3]).unwrap();
    let newest = folder.path().join("step-00000003.safetensors");
    let whole = std::fs::read(&newest).unwrap();
    for (from, to) in [
        (r#""step":"3""#, r#""step":"4""#),
        (r#""ended":"false""#, r#""ended":"true" "#),
        (r#""run":""#, r#""rum":""#),
    ] {
        std::fs::write(&newest, turned(&whole, from, to)).unwrap();
        let messages = stopped(&[3]).unwrap();
        assert!(messages[0].contains("step-00000003"), "{messages:?}");
    }

    // Of the time before headers were hashed, nothing says which of the two it is.
    let old = turned(&whole, r#""version":"#, r#""vermeil":"#);
    std::fs::write(&newest, old).unwrap();
    let error = stopped(&[]).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
    assert!(error.to_string().contains("an earlier version"), "{error}");
}

#[test]
fn checkpoints_of_another_run_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch {
        stop_after: Some(1),
        ..Watch::default()
    };
    run(&config(), folder.path(), NEVER, &mut watch).unwrap();
    let mut other = config();
    other.optimizer.matrix_lr = 0.03;
    let error = run(&other, folder.path(), NEVER, &mut Watch::default()).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let mut watch = Watch::default();
    let error = run(&config(), &file.join("inside"), NEVER, &mut watch).unwrap_err();
    assert!(error.to_string().contains("a file"), "{error}");
    assert!(watch.steps.is_empty());
}

#[test]
fn a_second_run_starts_from_the_weights_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let run_to = |name: &str, from: Option<&Gpt2>, config: &PretrainConfig, stop_after| {
        let mut watch = Watch {
            stop_after,
            ..Watch::default()
        };
        let model = run_from(from, config, &folder.path().join(name), NEVER, &mut watch);
        (model, watch.losses)
    };
    let (first, losses) = run_to("first", None, &config(), None);
    let first = first.unwrap().valid();

    // Other texts, and rates too small to undo what was learned.
    let mut second = config();
    second.seed = 4;
    second.optimizer.matrix_lr = 1e-4;
    let (whole, more) = run_to("whole", Some(&first), &second, None);
    assert!(more[0] < losses[0], "{more:?} after {losses:?}");

    // Stopped and resumed it ends the same, and not from other weights.
    let (stopped, _) = run_to("resumed", Some(&first), &second, Some(3));
    let (resumed, rest) = run_to("resumed", Some(&first), &second, None);
    assert_eq!(rest, more[3..]);
    assert_eq!(bits(&resumed.unwrap()), bits(&whole.unwrap()));
    let (error, _) = run_to("resumed", Some(&stopped.unwrap().valid()), &second, None);
    let error = error.unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
}

#[test]
fn a_model_of_another_shape_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(&config(), folder.path(), NEVER, &mut Watch::default()).unwrap();
    let mut other = config();
    other.model.n_embd = 48;
    let error = run_from(
        Some(&first),
        &other,
        &folder.path().join("other"),
        NEVER,
        &mut Watch::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("n_embd"), "{error}");
}

/// A model as a run of [`config`] would begin with, but for `change`.
fn beginning(change: impl FnOnce(&mut Gpt2Config)) -> Gpt2 {
    let tokenizer = tokenizer();
    let end = tokenizer.end_of_text().unwrap();
    let mut gpt2 = config().gpt2(tokenizer.vocab_size(), Some(end));
    change(&mut gpt2);
    bsbr_train::init(&gpt2, 3, &Device::default()).unwrap()
}

#[test]
fn a_model_that_computes_something_else_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let changes: [Change<Gpt2Config>; 4] = [
        ("activation_function", |config| {
            config.activation_function = Activation::Relu;
        }),
        ("layer_norm_epsilon", |config| {
            config.layer_norm_epsilon = 1e-3
        }),
        ("tie_word_embeddings", |config| {
            config.tie_word_embeddings = false
        }),
        ("arm", |config| {
            *config = config
                .clone()
                .with_arm(bsbr_convert::ArmConfig::Local(Default::default()));
        }),
    ];
    for (name, change) in changes {
        let mut watch = Watch::default();
        let model = beginning(change);
        let result = run_from(Some(&model), &config(), folder.path(), NEVER, &mut watch);
        let error = result.unwrap_err();
        assert!(
            error.to_string().contains(&format!("model.{name}:")),
            "{error}"
        );
    }
}

#[test]
fn a_start_may_differ_in_what_changes_no_number_but_belongs_to_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch {
        stop_after: Some(1),
        ..Watch::default()
    };
    let model = beginning(|config| {
        config.attn_pdrop = 0.1;
        config.other.insert("torch_dtype".into(), "float16".into());
    });
    run_from(Some(&model), &config(), folder.path(), NEVER, &mut watch).unwrap();
    assert_eq!(watch.steps, [1]);
    // The same weights, but the model that comes out would be described by another file.
    let model = beginning(|_| ());
    let result = run_from(Some(&model), &config(), folder.path(), NEVER, &mut watch);
    let error = result.unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
}

#[test]
fn settings_of_the_optimiser_that_no_run_can_have_are_named() {
    let changes: [Change<OptimizerConfig>; 6] = [
        ("matrix_lr", |rates| rates.matrix_lr = -0.01),
        ("position_lr", |rates| rates.position_lr = f64::INFINITY),
        ("weight_decay", |rates| rates.weight_decay = f64::NAN),
        ("final_share", |rates| rates.final_share = 1.5),
        ("clip_norm", |rates| rates.clip_norm = -1.0),
        ("clip_norm", |rates| rates.clip_norm = f64::NAN),
    ];
    for (name, change) in changes {
        let mut config = config();
        change(&mut config.optimizer);
        let error = config.validate().unwrap_err();
        assert!(matches!(error, TrainError::Config { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn two_devices_make_the_steps_of_one() {
    let (_, expected) = uninterrupted();
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch::default();
    let options = RunOptions {
        devices: Devices::new(vec![Device::default(); 2], Strategy::MultiDevice).unwrap(),
        ..RunOptions::default()
    };
    run_with(options, None, &config(), folder.path(), &mut watch).unwrap();
    assert_eq!(watch.losses.len(), expected.len());
    for (found, expected) in watch.losses.iter().zip(&expected) {
        // Gradients are summed in another order, and steps of Muon are large.
        assert!((found - expected).abs() < 1e-3, "{found}, {expected}");
    }
}
