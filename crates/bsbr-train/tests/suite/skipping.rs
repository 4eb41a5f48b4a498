//! Training for more positions in windows with gaps.

use std::path::Path;

use bsbr_gpt2::parameters::visit_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config, PositionExtension};
use bsbr_train::finetune::{Dataset, FinetuneConfig, Finetuned, Objective, Trainable, finetune};
use bsbr_train::{Recompute, RunOptions, StepReport, TrainError, TrainingObserver};
use burn::tensor::Device;

/// Positions of the model, of the extended one, and tokens of a window.
const SIZES: [usize; 3] = [40, 160, 32];

fn model() -> Gpt2 {
    let config = Gpt2Config {
        vocab_size: 60,
        n_positions: SIZES[0],
        n_embd: 16,
        n_layer: 2,
        n_head: 2,
        bos_token_id: None,
        eos_token_id: None,
        ..Gpt2Config::default()
    };
    bsbr_train::init(&config, 4, &Device::default()).unwrap()
}

fn extended() -> Gpt2 {
    let repeat = PositionExtension::RepeatLast { window: 20 };
    model().extended(SIZES[1], repeat).unwrap()
}

/// Stops after a step, and sees what was validated.
struct Stop(u64, u64);

impl TrainingObserver for Stop {
    fn step(&mut self, report: &StepReport) {
        self.1 = report.step;
    }

    fn message(&mut self, _: &str) {}

    fn validate(&mut self, _: u64, _: &Gpt2) {}

    fn should_stop(&self) -> bool {
        self.0 == self.1
    }
}

fn config(objective: Objective) -> FinetuneConfig {
    FinetuneConfig {
        epochs: 2,
        objective,
        grad_accumulation: 3,
        position_chunks: 3,
        ..FinetuneConfig::default()
    }
}

fn run(
    config: &FinetuneConfig,
    recompute: Recompute,
    folder: &Path,
    stop_after: u64,
) -> Result<Finetuned, TrainError> {
    let ids = (0..900u32).map(|i| (i * i / 7) % 60).collect();
    let data = Dataset::tokens(ids, SIZES[2], "made up".into())?;
    let options = RunOptions {
        recompute,
        ..RunOptions::default()
    };
    let mut stop = Stop(stop_after, 0);
    let original = model();
    finetune(
        config,
        extended(),
        Some(&original),
        &data,
        folder,
        &options,
        &mut stop,
    )
}

fn tensors(model: &Gpt2) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    visit_tensors(model, |name, data| {
        all.push((name.to_owned(), data.iter::<f32>().collect()));
    });
    all
}

const DISTILL: Objective = Objective::Distill {
    temperature: 1.0,
    mix: 0.5,
};

/// Whatever is learned: the original of `Distill` has the positions of whole windows alone.
#[test]
fn stopped_and_recomputed_runs_end_with_the_same_weights() {
    for (objective, train) in [
        (Objective::Lm, Trainable::All),
        (DISTILL, Trainable::Attention),
    ] {
        let config = FinetuneConfig {
            train,
            ..config(objective)
        };
        let folders: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let whole = run(&config, Recompute::Off, folders[0].path(), 0).unwrap();
        let again = run(&config, Recompute::On, folders[1].path(), 0).unwrap();
        assert!(tensors(&whole.model) == tensors(&again.model), "recomputed");
        let stopped = run(&config, Recompute::Off, folders[2].path(), 4).unwrap();
        assert!(!stopped.done);
        let resumed = run(&config, Recompute::Off, folders[2].path(), 0).unwrap();
        assert!(tensors(&resumed.model) == tensors(&whole.model), "resumed");
        assert_eq!(resumed.history, whole.history);
    }
}

#[test]
fn other_chunks_are_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Objective::Lm);
    run(&config, Recompute::Off, folder.path(), 2).unwrap();
    let other = FinetuneConfig {
        position_chunks: 2,
        ..config
    };
    let error = run(&other, Recompute::Off, folder.path(), 0).unwrap_err();
    assert!(error.to_string().contains("set of settings"), "{error}");
    let none = FinetuneConfig {
        position_chunks: 0,
        ..other
    };
    let error = run(&none, Recompute::Off, folder.path(), 0).unwrap_err();
    assert!(error.to_string().contains("position_chunks"), "{error}");
}

#[test]
fn rows_beyond_the_original_table_are_trained() {
    let folder = tempfile::tempdir().unwrap();
    let tuned = run(&config(Objective::Lm), Recompute::Off, folder.path(), 0).unwrap();
    let table = |model: &Gpt2| -> Vec<f32> { model.wpe.weight.val().to_data().iter().collect() };
    let (before, after) = (table(&extended()), table(&tuned.model));
    let width = before.len() / SIZES[1];
    let changed = |row: &usize| {
        let row = row * width..(row + 1) * width;
        before[row.clone()] != after[row]
    };
    let count = (SIZES[0]..SIZES[1]).filter(changed).count();
    assert!(count > 100, "{count} of {} rows", SIZES[1] - SIZES[0]);
    assert!(tuned.model.config().extended_positions().is_none());

    // Where the table stays as it is, so does what is said of it.
    let folder = tempfile::tempdir().unwrap();
    let attention = FinetuneConfig {
        train: Trainable::Attention,
        ..config(Objective::Lm)
    };
    let tuned = run(&attention, Recompute::Off, folder.path(), 0).unwrap();
    assert!(table(&tuned.model) == before);
    assert!(tuned.model.config().extended_positions().is_some());
}

#[test]
fn an_original_without_the_positions_of_a_window_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = Dataset::tokens(vec![1; 300], SIZES[0] + 1, "ones".into()).unwrap();
    let original = model();
    let error = finetune(
        &config(DISTILL),
        extended(),
        Some(&original),
        &data,
        folder.path(),
        &RunOptions::default(),
        &mut Stop(0, 0),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("original.n_positions"),
        "{error}"
    );
}
