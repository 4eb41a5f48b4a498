//! `cargo xtask memory-cell`: a process that `reproduce` starts for each cell of its memory tables.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use bsbr_gpt2::Gpt2;
use bsbr_report::arms::load_dense;
use bsbr_report::experiments::memory::worker::{Task, Worker, measure_here};

use super::shape::Shape;
use super::weights::WeightsArgs;
use crate::{assets, device};

/// Measure the memory of one forward pass, reading or training step, described as JSON on standard input.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the dense model
    #[arg(long, default_value_os_t = assets::bundled())]
    model: PathBuf,
    /// Use random weights of this shape instead
    #[arg(long, value_name = "NAME")]
    shape: Option<Shape>,
    #[command(flatten)]
    weights: WeightsArgs,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

impl Args {
    /// The command of such a process.
    pub fn worker(
        model: PathBuf,
        shape: Option<Shape>,
        weights: WeightsArgs,
        device: &str,
    ) -> Result<Worker> {
        let mut arguments = vec!["memory-cell".to_owned(), "--device".to_owned()];
        arguments.push(device.to_owned());
        arguments.extend(weights.arguments());
        match shape {
            Some(shape) => arguments.extend(["--shape".to_owned(), shape.to_string()]),
            None => arguments.extend(["--model".to_owned(), model.display().to_string()]),
        }
        Ok(Worker {
            program: std::env::current_exe()?,
            arguments,
        })
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let task = std::io::read_to_string(std::io::stdin())?;
    let task: Task = serde_json::from_str(&task).context("standard input is not a task")?;
    let device = device::parse(&args.device)?;
    let dense = match args.shape {
        Some(shape) => Gpt2::init(&shape.config()?, 0, &device)?,
        None => load_dense(&args.model, &device)?,
    };
    let dense = args.weights.pack(dense)?;
    let peak = measure_here(dense, &task).map_err(|reason| anyhow!(reason))?;
    println!("{}", serde_json::to_string(&peak)?);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::commands::options;

    pub fn every_option_counts() {
        options::check(&[""], |args: &Args| {
            let device = &args.device;
            format!(
                "{:?} {:?} {:?} {device}",
                args.model, args.shape, args.weights
            )
        });
    }

    /// `bench` and `reproduce` start this command with their own settings.
    #[test]
    fn a_worker_is_told_its_settings() {
        for shape in [None, Some(Shape::Gpt2Medium)] {
            let worker = Args::worker("there".into(), shape, WeightsArgs::default(), "wgpu")
                .expect("a worker");
            let words: Vec<&str> = worker.arguments.iter().map(String::as_str).collect();
            let args = options::parsed::<Args>(&words[1..]);
            assert_eq!((words[0], args.shape), ("memory-cell", shape));
            assert_eq!(args.device, "wgpu");
            let folder = match shape {
                Some(_) => crate::assets::bundled(),
                None => "there".into(),
            };
            assert_eq!(args.model, folder);
        }
    }
}
