//! `cargo xtask logits`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bsbr_files::{check_file, write_file_with};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::{DType, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::hub::HubArgs;
use super::weights::WeightsArgs;
use super::{ids, model};
use crate::device;

/// Write the logits of token ids to a safetensors file, and optionally the hidden states.
///
/// For lists of one length the file contains f32 `logits` [B, N, V], and `hidden_states.0` (the
/// embeddings) to `hidden_states.L` (after the last block and the final norm) [B, N, n_embd]. For
/// lists of several lengths each has its own tensors, equal to those of the list alone: for the
/// first `logits.0` [N, V] and `hidden_states.0.0` to `hidden_states.L.0` [N, n_embd], for the
/// second `logits.1`, and so on.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model, or its name on the Hub
    #[arg(long, value_name = "DIR|NAME")]
    model: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// A JSON list of lists of token ids
    #[arg(long, value_name = "FILE")]
    ids_file: PathBuf,
    /// Also write every hidden state
    #[arg(long)]
    hidden_states: bool,
    #[command(flatten)]
    weights: WeightsArgs,
    /// The output file
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
    check_file(&args.out, 0)?;
    let device = device::parse(&args.device)?;
    let rows = ids::read(&args.ids_file)?;
    let folder = args.hub.find(&args.model)?.folder;
    let loaded = model::open(&folder, &device, None, args.allow_non_finite)?;
    let model = args.weights.pack(loaded.model)?;
    let config = model.config();
    let width = match args.hidden_states {
        false => config.vocab_size,
        true => config.vocab_size + (config.n_layer + 1) * config.n_embd,
    };
    let tokens: usize = rows.iter().map(Vec::len).sum();
    check_file(&args.out, (tokens * width * size_of::<f32>()) as u64)?;
    let tensors = Tensors::of(&model, &rows, args.hidden_states)
        .with_context(|| args.ids_file.display().to_string())?;
    let views = tensors.views()?;
    write_file_with(&args.out, |file| -> Result<()> {
        let bytes = safetensors::serialize(views, None)?;
        Ok(file.write_all(&bytes)?)
    })
    .with_context(|| args.out.display().to_string())?;
    println!("{}", args.out.display());
    Ok(())
}

/// Named numbers, row-major, with their sizes.
#[derive(Debug)]
struct Tensors(Vec<(String, Vec<usize>, Vec<u8>)>);

impl Tensors {
    /// The logits of rows, and their hidden states if requested.
    fn of(model: &Gpt2, rows: &[Vec<u32>], hidden_states: bool) -> Result<Self> {
        let batch = TokenBatch::padded(rows)?;
        let mut tensors = Self(Vec::new());
        if rows.iter().all(|row| row.len() == batch.seq_len()) {
            tensors.add(model, &batch, hidden_states, None)?;
            return Ok(tensors);
        }
        // Checked before the first is computed.
        model.check(&batch, 0)?;
        for (index, row) in rows.iter().enumerate() {
            tensors.add(model, &TokenBatch::single(row)?, hidden_states, Some(index))?;
        }
        Ok(tensors)
    }

    /// The tensors of a batch, or of one row without the dimension of the batch.
    fn add(
        &mut self,
        model: &Gpt2,
        batch: &TokenBatch,
        hidden_states: bool,
        row: Option<usize>,
    ) -> Result<()> {
        let hidden = match hidden_states {
            false => model.hidden_states(batch)?,
            true => {
                let mut states = model.all_hidden_states(batch)?;
                let last = states.pop().context("the model has no hidden state")?;
                let all = states.into_iter().chain([last.clone()]);
                for (index, state) in all.enumerate() {
                    self.push(&format!("hidden_states.{index}"), state, row)?;
                }
                last
            }
        };
        self.push("logits", model.logits(hidden), row)
    }

    fn push(&mut self, name: &str, tensor: Tensor<3>, row: Option<usize>) -> Result<()> {
        let [batch, seq_len, width] = tensor.dims();
        let data = tensor.into_data().convert_dtype(DType::F32);
        let values = data.iter::<f32>();
        if let Some((place, value)) = values.enumerate().find(|(_, value)| !value.is_finite()) {
            bail!(
                "the {} of row {}, position {} are {value}, which is no number: the model's weights \
                 may be damaged, or its numbers too large for their type; nothing is written",
                name.split('.').next().unwrap_or(name).replace('_', " "),
                row.unwrap_or(place / (seq_len * width)),
                place / width % seq_len,
            );
        }
        let bytes = data.as_bytes().to_vec();
        self.0.push(match row {
            None => (name.to_owned(), vec![batch, seq_len, width], bytes),
            Some(row) => (format!("{name}.{row}"), vec![seq_len, width], bytes),
        });
        Ok(())
    }

    fn views(&self) -> Result<Vec<(&str, TensorView<'_>)>> {
        let mut views = Vec::with_capacity(self.0.len());
        for (name, shape, bytes) in &self.0 {
            views.push((
                name.as_str(),
                TensorView::new(Dtype::F32, shape.clone(), bytes)?,
            ));
        }
        Ok(views)
    }
}

#[cfg(test)]
mod tests {
    use bsbr_gpt2::Gpt2Config;
    use bsbr_gpt2::parameters::replace_tensors;
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn model() -> Gpt2 {
        let config = Gpt2Config {
            vocab_size: 20,
            n_positions: 16,
            n_embd: 8,
            n_layer: 2,
            n_head: 2,
            bos_token_id: None,
            eos_token_id: None,
            ..Gpt2Config::default()
        };
        Gpt2::init(&config, 3, &Device::default()).expect("a model")
    }

    #[test]
    fn rows_of_several_lengths_give_what_each_gives_alone() {
        let model = model();
        let rows = [vec![1, 2, 3], vec![4], vec![5, 6, 7, 8, 9]];
        let all = Tensors::of(&model, &rows, true).expect("all rows");
        for (index, row) in rows.iter().enumerate() {
            let alone = Tensors::of(&model, std::slice::from_ref(row), true).expect("a row");
            for (name, shape, bytes) in alone.0 {
                let own = (format!("{name}.{index}"), shape[1..].to_vec(), bytes);
                assert!(all.0.contains(&own), "{name} of row {index}");
            }
        }
        assert_eq!(all.0.len(), 3 * 4);
    }

    #[test]
    fn rows_of_one_length_are_a_batch() {
        let rows = [vec![1, 2, 3], vec![4, 5, 6]];
        let all = Tensors::of(&model(), &rows, false).expect("a batch");
        let (name, shape, _) = &all.0[0];
        assert_eq!(
            (name.as_str(), shape.as_slice()),
            ("logits", &[2, 3, 20][..])
        );
        assert_eq!(all.0.len(), 1);
    }

    #[test]
    fn what_is_no_number_is_not_written() {
        let broken = replace_tensors(model(), |name, shape| {
            (name == "ln_f.bias").then(|| TensorData::new(vec![f32::NAN; 8], shape.to_vec()))
        });
        let rows = [vec![1, 2], vec![3, 4]];
        let error = Tensors::of(&broken, &rows, false).expect_err("logits are NaN");
        let text = error.to_string();
        assert!(
            text.contains("logits of row 0, position 0 are NaN"),
            "{text}"
        );
        let rows = [vec![1, 2], vec![3]];
        assert!(Tensors::of(&broken, &rows, true).is_err());
        assert!(Tensors::of(&model(), &[vec![1], vec![]], false).is_err());
    }
}
