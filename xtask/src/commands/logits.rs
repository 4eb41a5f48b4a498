//! `cargo xtask logits`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bsbr_gpt2::TokenBatch;
use burn::tensor::{DType, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::hub::HubArgs;
use super::weights::WeightsArgs;
use super::{ids, model};
use crate::device;

/// Write the logits of token ids to a safetensors file, and the hidden states if asked.
///
/// The file holds f32 `logits` [B, N, V], and `hidden_states.0` (the embeddings) to
/// `hidden_states.L` (after the last block and the final norm) [B, N, n_embd].
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model, or its name on the Hub
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// A JSON list of equally long lists of token ids
    #[arg(long, value_name = "FILE")]
    ids_file: PathBuf,
    /// Write every hidden state too
    #[arg(long)]
    hidden_states: bool,
    #[command(flatten)]
    weights: WeightsArgs,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Load weights that are NaN or infinite
    #[arg(long)]
    allow_non_finite: bool,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    check_writable(&args.out)?;
    let device = device::parse(&args.device)?;
    let folder = args.hub.find(&args.model)?.folder;
    let loaded = model::open(&folder, &device, None, args.allow_non_finite)?;
    let batch = TokenBatch::rows(&ids::read(&args.ids_file)?)
        .with_context(|| args.ids_file.display().to_string())?;
    let model = args.weights.pack(loaded.model)?;
    let mut tensors: Vec<(String, Tensor<3>)> = Vec::new();
    let hidden = if args.hidden_states {
        let states = model.all_hidden_states(&batch)?;
        for (index, state) in states.iter().enumerate() {
            tensors.push((format!("hidden_states.{index}"), state.clone()));
        }
        states
            .into_iter()
            .next_back()
            .context("the model has no hidden state")?
    } else {
        model.hidden_states(&batch)?
    };
    tensors.push(("logits".into(), model.logits(hidden)));
    let data = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let shape = tensor.dims().to_vec();
            let data = tensor.into_data().convert_dtype(DType::F32);
            (name, shape, data.as_bytes().to_vec())
        })
        .collect::<Vec<_>>();
    let views = data
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(Dtype::F32, shape.clone(), bytes)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None)?;
    let beside = args.out.with_extension("tmp");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, &args.out))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&beside);
        })
        .with_context(|| args.out.display().to_string())?;
    println!("{}", args.out.display());
    Ok(())
}

/// Says that the file cannot be written before anything is computed.
fn check_writable(out: &Path) -> Result<()> {
    if out.is_dir() {
        bail!("{}: is a folder; give the name of a file", out.display());
    }
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!(
            "{}: there is no folder {}; make it first",
            out.display(),
            folder.display()
        );
    }
    Ok(())
}
