//! A run that was cut off ends with the weights of one that was not, bit for bit.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use bsbr_data::storybook::{Domain, Split, Storybook};
use bsbr_data::stream::StreamConfig;
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::Gpt2;
use bsbr_gpt2::parameters::visit_tensors;
use bsbr_train::config::{ModelShape, OptimizerConfig, Stage};
use bsbr_train::{
    Devices, Observer, PretrainConfig, RunOptions, Start, StepReport, Strategy, TrainError,
    pretrain,
};
use burn::module::Module;
use burn::tensor::Device;

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

impl Observer for Watch {
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
