//! `cargo xtask finetune`

mod args;
mod dashboard;
mod lines;
mod pace;

pub use args::Args;

use std::path::Path;

use anyhow::{Context, Result};
use bsbr_convert::{
    ConversionPlan, FloatType, check_output, convert, save_model, uncalibrated_layers,
};
use bsbr_files::write_file;
use bsbr_gpt2::Gpt2;
use bsbr_report::arms::{dense_form, of_layers};
use bsbr_report::validation::{self, Side, sides};
use bsbr_train::TrainingObserver;
use bsbr_train::finetune::{FinetuneConfig, History, curves, finetune};

use args::Arm;
use dashboard::Dashboard;
use lines::Lines;
use pace::Pace;

use super::convert::calibrated;
use super::{card, model, positions};

/// The model to train: the one loaded from `folder`, with `arm`, calibrated on storybook text if
/// the arm compresses its states.
fn start(model: Gpt2, arm: &Arm, folder: &Path) -> Result<Gpt2> {
    let model = match arm {
        None => model,
        Some(arm) => convert(model, &ConversionPlan::uniform(arm.clone()))?,
    };
    match uncalibrated_layers(&model).is_empty() {
        true => Ok(model),
        false => calibrated(model, folder, &[]),
    }
}

/// The record of a run, stored beside its model.
#[derive(serde::Serialize)]
struct Record<'a> {
    command: String,
    config: &'a FinetuneConfig,
    data: &'a str,
    data_hash: &'a str,
    window: usize,
    windows: u64,
    /// Results of the dense, the converted and the tuned model on the validation windows.
    sides: &'a [Side],
    history: &'a History,
}

/// The message if there is little to recover.
fn little_lost(converted: &Side) -> Option<String> {
    let lost = converted.loses()?;
    let program = crate::program();
    Some(format!(
        "conversion loses {lost} on held-out windows: {} nats per token beyond dense, {} windows. \
         Training continues, to learn this data. It also helps with more positions (`{program} \
         finetune --positions N`), and with arms that lose something: \
         summaries only (`--arm moments:exact_clusters=0`), compressed states (`--arm \
         moments:exact_clusters=0,state=true,compression=4`)",
        converted.beyond_dense, converted.windows
    ))
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let _lock = super::claim(&args.out)?;
    let (device, devices) = args.devices()?;
    let found = args.hub.find(&args.model)?;
    let folder = found.folder.clone();
    let loaded = model::open(&folder, &device, Some(FloatType::F32), false)?;
    let tokenizer = model::tokenizer(&folder, &loaded.config)?;
    let positions = args.positions.unwrap_or(loaded.config.n_positions);
    let window = args.window.min(positions);
    let checkpoints = args.folder();
    std::fs::create_dir_all(&checkpoints)
        .with_context(|| format!("--checkpoints {}", checkpoints.display()))?;
    let data = args.dataset(&tokenizer, window, &checkpoints)?;
    if data.without_text() > 0 {
        eprintln!("skipped: {} rows whose text is null", data.without_text());
    }
    let original = loaded.model.clone();
    let start = start(loaded.model, &args.arm, &folder)?;
    let start = match args.longer() {
        // An existing longer table is trained.
        Some(longer) if longer.positions != start.config().n_positions => {
            positions::extended(start, &folder, &longer)?
        }
        _ => start,
    };
    let config = args.config();
    let mut options = args.save_options(loaded.folder.companions());
    check_output(&start, &args.out, &options)
        .with_context(|| format!("--out {}", args.out.display()))?;
    let run = args.run_options(devices);
    // Windows may be longer than the original's table.
    let dense = dense_form(match window > original.config().n_positions {
        true => start.clone(),
        false => original.clone(),
    })?;
    let [is_dense, was_dense] = [&start, &original].map(|one| of_layers(one) == of_layers(&dense));
    let converted = [("converted", &start)];
    let mut compared = sides(&dense, if is_dense { &[] } else { &converted }, &data)?;
    if let Some(text) = compared.get(1).filter(|_| was_dense).and_then(little_lost) {
        super::report(&text);
    }
    let stop = super::interrupter()?;
    let epochs = config.transfer_epochs + config.epochs;
    let pace = Pace::new(epochs, data.steps(config.rows()));
    let mut progress: Box<dyn TrainingObserver> =
        match args.no_dashboard || !Dashboard::has_a_viewer() {
            true => Box::new(Lines { stop, pace }),
            false => Box::new(Dashboard::new(stop, pace)),
        };
    let tuned = finetune(
        &config,
        start,
        Some(&original),
        &data,
        &checkpoints,
        &run,
        &mut *progress,
    );
    // The terminal must be restored before any other output.
    drop(progress);
    let tuned = tuned.with_context(|| format!("--checkpoints {}", checkpoints.display()))?;
    if !tuned.done {
        return Ok(());
    }
    compared.extend(sides(&dense, &[("tuned", &tuned.model)], &data)?.pop());
    super::report(&validation::markdown(&compared));
    let record = Record {
        command: super::command_line(),
        config: &config,
        data: data.name(),
        data_hash: data.hash(),
        window: data.window_size(),
        windows: data.windows(),
        sides: &compared,
        history: &tuned.history,
    };
    let beside = [
        ("finetuning.json", serde_json::to_string_pretty(&record)?),
        ("finetuning.svg", curves(&tuned.history)),
    ];
    for (name, text) in beside {
        let path = checkpoints.join(name);
        write_file(&path, text.as_bytes())?;
        options.companions.push(path.into());
    }
    let mut card = card::card(&args.out, &args.model, &found);
    card.trained = true;
    let section = card::training(&tuned.history, &compared, data.name(), &args.objective());
    card.sections.push(section);
    options.card = Some(card.to_markdown(&tuned.model.config()));
    save_model(&tuned.model, &args.out, &options)
        .with_context(|| format!("writing {}", args.out.display()))?;
    println!("{}", args.out.display());
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_data::storybook::{Domain, Split, Storybook};
    use bsbr_data::tokenizer::TextTokenizer;
    use bsbr_gpt2::Gpt2Config;
    use burn::tensor::Device;

    use super::*;

    pub use super::args::tests::every_option_counts;

    #[test]
    fn an_arm_that_compresses_its_states_is_calibrated_before_it_is_trained() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Storybook::new(7);
        let texts = Domain::ALL.map(|domain| book.plain(Split::Train, domain, 0, 200).text);
        let tokenizer = TextTokenizer::train_bpe(texts, 400).expect("a tokenizer");
        tokenizer.save(folder.path()).expect("a file");
        let config = Gpt2Config {
            vocab_size: tokenizer.vocab_size(),
            n_positions: 48,
            n_embd: 16,
            n_layer: 2,
            n_head: 2,
            bos_token_id: None,
            eos_token_id: None,
            ..Gpt2Config::default()
        };
        let model = Gpt2::init(&config, 1, &Device::default()).expect("a model");
        let arm = "moments:chunk_size=8,clusters=2,state=true,compression=4".parse();
        let model =
            start(model, &Some(arm.expect("an arm")), folder.path()).expect("it is calibrated");
        assert_eq!(model.config().arm(1).compression(), 4);
        assert!(uncalibrated_layers(&model).is_empty());
    }
}
