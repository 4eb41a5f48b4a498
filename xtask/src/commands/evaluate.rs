//! `cargo xtask evaluate`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bsbr_report::arms::load;
use bsbr_report::corpus::model_files;
use bsbr_report::evaluate::evaluate;
use bsbr_report::hash;
use bsbr_report::lab::Lab;
use bsbr_report::overview::Overview;
use bsbr_report::reported::Reported;
use bsbr_report::reproduce::Plan;
use bsbr_report::spec::{Overrides, read_specs};
use burn::tensor::Device;

use super::hub::HubArgs;
use super::reproduce::{self, Progress, stop_flag};
use super::texts;
use super::weights::WeightsArgs;
use crate::{assets, device};

/// Compare models with a base in one table, each with the attention of its folder.
///
/// Models may be dense, converted, tuned, or extended. The table has perplexity, agreement with the
/// base, answers to questions about far facts, summaries, time relative to the base, and the size
/// of the cache, with the methods of `reproduce`. Results are recorded in --out; after an
/// interruption, the same command resumes.
#[derive(clap::Args)]
pub struct Args {
    /// Folders of models, or their names on the Hub; all must have the tokenizer of the base
    #[arg(
        long,
        required = true,
        value_delimiter = ',',
        value_name = "DIR|NAME,…"
    )]
    model: Vec<PathBuf>,
    /// Folder of the model whose dense form is the base [default: the first of --model]
    #[arg(long, value_name = "DIR|NAME")]
    base: Option<PathBuf>,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    weights: WeightsArgs,
    /// Use few samples, with the same method
    #[arg(long)]
    quick: bool,
    /// Use as many samples as docs/results/bundled-full
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Measure only these: perplexity, agreement, qa, summarisation, speed
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,
    /// Minimum number of words between a fact and the question about it, for models with many
    /// positions; a word is about one and a half tokens [default: 2000]
    #[arg(long, value_name = "WORDS", value_parser = clap::value_parser!(u32).range(1..))]
    distance: Option<u32>,
    /// Another seed for texts and random sequences
    #[arg(long)]
    seed: Option<u64>,
    /// Texts, as in `reproduce` [default: storybook with the bundled model's tokenizer, else
    /// wikitext-2 and, for summaries, cnn-dailymail]
    #[arg(long, num_args = 1.., value_name = "FILE|NAME")]
    data: Vec<String>,
    /// Folder for records
    #[arg(long, default_value = "results/evaluate")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Folder of specifications
    #[arg(long, default_value_os_t = assets::path("experiments"), hide_short_help = true)]
    experiments: PathBuf,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

impl Args {
    /// A measurement.
    fn plan(&self) -> Result<Plan> {
        assets::check(&self.experiments)?;
        let overrides = Overrides {
            quick: self.quick,
            full: self.full,
            seed: self.seed,
            distances: self.distance.into_iter().collect(),
            ..Overrides::default()
        };
        Ok(Plan {
            specs: read_specs(&self.experiments, &overrides)?,
            only: self.only.clone(),
            reported: Reported::default(),
            overview: Overview::default(),
            command: super::command_line(),
            commit: super::commit(),
        })
    }

    /// The base and the other models.
    fn lab(&self, device: &Device) -> Result<Lab> {
        let base = self.base.as_ref().unwrap_or(&self.model[0]);
        let found = self.hub.find(base)?;
        let texts = texts::texts(&self.data, &self.experiments, &found.folder, &self.hub)?;
        let lab = Lab::open(&found.folder, device, &self.device, &texts);
        let mut lab = lab.with_context(|| base.display().to_string())?;
        texts::report_limited(lab.corpus());
        if let Some(name) = found.name() {
            name.clone_into(&mut lab.name);
        }
        // A dense base is already a row.
        let is_row = self.base.is_none() && !lab.has_arms() && self.weights.products().is_none();
        for model in self.model.iter().skip(usize::from(is_row)) {
            let folder = self.hub.find(model)?.folder;
            let name = model.display().to_string();
            same_tokenizer(&folder, &found.folder).with_context(|| format!("--model {name}"))?;
            let own = load(&folder, device).with_context(|| format!("--model {name}"))?;
            let own = self.weights.pack(own)?;
            let hash = format!(
                "{} {:?}",
                hash::of_files(&model_files(&folder)?)?,
                self.weights.products()
            );
            lab = lab.with_given(&name, own, &hash)?;
        }
        Ok(lab)
    }
}

/// Refuses models with another tokenizer.
fn same_tokenizer(folder: &Path, base: &Path) -> Result<()> {
    let of = |folder| -> Result<String> {
        Ok(bsbr_data::tokenizer::TextTokenizer::from_folder(folder)?.to_json()?)
    };
    ensure!(
        of(folder)? == of(base)?,
        "its tokenizer differs from that of the base {}, so their numbers cannot be compared; \
         evaluate it separately",
        base.display()
    );
    Ok(())
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let plan = args.plan()?;
    let device = device::parse(&args.device)?;
    let _lock = reproduce::claim(&args.out)?;
    let lab = args.lab(&device)?;
    let found = evaluate(&plan, &lab, &args.out, &mut Progress::new(stop_flag()?))?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&found.json())?),
        false => println!("{}", found.markdown()),
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_hub::HubConfig;

    use super::*;
    use crate::commands::options;

    fn settings(args: &Args) -> String {
        let plan = args
            .plan()
            .map(|plan| format!("{:?} {:?}", plan.specs, plan.only));
        format!(
            "{} {:?} {:?} {:?} {:?} {:?}",
            plan.unwrap_or_else(|error| format!("{error:#}")),
            args.hub.config(HubConfig::new("cache")).offline,
            args.weights,
            (&args.model, &args.base, &args.data, &args.experiments),
            (&args.out, args.json),
            args.device,
        )
    }

    pub fn every_option_counts() {
        options::check(&["--model model"], settings);
    }
}
