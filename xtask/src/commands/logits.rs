//! `cargo xtask logits`

use std::fs::File;
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bsbr_files::{check_file, write_file_with};
use bsbr_gpt2::{Gpt2, PREFILL_CHUNK_SIZE, TokenBatch};
use burn::tensor::{DType, Tensor};

use super::hub::HubArgs;
use super::weights::WeightsArgs;
use super::{ids, model};
use crate::device;

/// Write the logits of token ids to a safetensors file, and optionally the hidden states.
///
/// For lists of equal length the file contains f32 `logits` [B, N, V], and `hidden_states.0` (the
/// embeddings) to `hidden_states.L` (after the last block and the final norm) [B, N, n_embd]. For
/// lists of different lengths each list has its own tensors, equal to those of the list alone:
/// `logits.0` [N, V] and `hidden_states.0.0` to `hidden_states.L.0` [N, n_embd] for the first list,
/// `logits.1` for the second, and so on.
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
    /// Tokens per pass; fewer take less memory
    #[arg(long, value_name = "N", default_value_t = PREFILL_CHUNK_SIZE)]
    prefill_chunk_size: usize,
    #[command(flatten)]
    weights: WeightsArgs,
    /// The output file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Accept weights that are NaN or infinite
    #[arg(long)]
    allow_non_finite: bool,
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
}

/// Bytes of a number.
const FLOAT: usize = size_of::<f32>();

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    check_file(&args.out, 0)?;
    let device = device::parse(&args.device)?;
    let rows = ids::read(&args.ids_file)?;
    let folder = args.hub.find(&args.model)?.folder;
    let loaded = model::open(&folder, &device, None, args.allow_non_finite)?;
    let model = args.weights.pack(loaded.model)?;
    let reader = Reader {
        model: &model,
        hidden_states: args.hidden_states,
        piece: args.prefill_chunk_size,
    };
    let file = NumbersFile::of(&reader, &rows);
    let file = file.with_context(|| args.ids_file.display().to_string())?;
    check_file(&args.out, file.len)?;
    write_file_with(&args.out, |out| file.write(&reader, out))
        .with_context(|| args.out.display().to_string())?;
    println!("{}", args.out.display());
    Ok(())
}

/// The model, and the outputs to write.
struct Reader<'a> {
    model: &'a Gpt2,
    hidden_states: bool,
    /// Tokens per pass.
    piece: usize,
}

impl Reader<'_> {
    /// The outputs: names, and numbers per token.
    fn outputs(&self) -> Vec<(String, usize)> {
        let config = self.model.config();
        let states = match self.hidden_states {
            false => 0..0,
            true => 0..config.n_layer + 1,
        };
        let states = states.map(|index| (format!("hidden_states.{index}"), config.n_embd));
        states
            .chain([("logits".to_owned(), config.vocab_size)])
            .collect()
    }

    /// Passes on the hidden states of a batch, piece by piece: those to write, and the last.
    fn read(
        &self,
        batch: &TokenBatch,
        mut take: impl FnMut(Vec<Tensor<3>>) -> Result<()>,
    ) -> Result<()> {
        let model = self.model;
        if batch.seq_len() <= self.piece {
            return take(match self.hidden_states {
                false => vec![model.hidden_states(batch)?],
                true => model.all_hidden_states(batch)?,
            });
        }
        let mut cache = model.new_cache();
        for piece in batch.pieces(self.piece) {
            take(match self.hidden_states {
                false => vec![model.forward_cached(&piece, &mut cache)?],
                true => model.all_hidden_states_cached(&piece, &mut cache)?,
            })?;
        }
        Ok(())
    }

    /// Passes on the numbers of a piece for the output number `index`, row by row.
    fn numbers(
        &self,
        states: &[Tensor<3>],
        index: usize,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let last = states.last().context("the model has no hidden state")?;
        let [rows, tokens, _] = last.dims();
        let state = states.get(index).filter(|_| self.hidden_states);
        // Holds logits for at most one pass's tokens, but for at least one row.
        let at_once = (self.piece / tokens.max(1)).max(1);
        for first in (0..rows).step_by(at_once) {
            let some = |all: &Tensor<3>| all.clone().narrow(0, first, at_once.min(rows - first));
            let numbers = match state {
                None => self.model.logits(some(last)),
                Some(state) => some(state),
            };
            let width = numbers.dims()[2];
            let data = numbers.into_data().convert_dtype(DType::F32);
            let of_rows = data.as_bytes().chunks_exact(tokens * width * FLOAT);
            for (row, bytes) in of_rows.enumerate() {
                take(first + row, bytes)?;
            }
        }
        Ok(())
    }
}

/// Refuses NaN and infinities in the numbers of tokens from `place` on, a row and a position.
fn check(tokens: &[u8], (name, width): (&str, usize), place: (usize, usize)) -> Result<()> {
    let numbers = tokens.as_chunks().0.iter().map(|x| f32::from_ne_bytes(*x));
    if let Some((at, value)) = numbers.enumerate().find(|(_, value)| !value.is_finite()) {
        bail!(
            "the {} of row {}, position {} are {value}, not a finite number: the model's weights may \
             be damaged, or its numbers too large for their type; nothing was written",
            name.split('.').next().unwrap_or(name).replace('_', " "),
            place.0,
            place.1 + at / width,
        );
    }
    Ok(())
}

/// The rows that are read together.
struct Part {
    /// The list, if it has its own tensors.
    row: Option<usize>,
    batch: TokenBatch,
    /// The offset of each output after the header.
    starts: Vec<usize>,
}

impl Part {
    fn new(row: Option<usize>, batch: TokenBatch) -> Self {
        let starts = Vec::new();
        Self { row, batch, starts }
    }
}

/// A safetensors file that is written piece by piece.
struct NumbersFile {
    header: Vec<u8>,
    outputs: Vec<(String, usize)>,
    parts: Vec<Part>,
    len: u64,
}

impl NumbersFile {
    /// The file of lists of ids, after a check that the model can read them.
    fn of(reader: &Reader<'_>, rows: &[Vec<u32>]) -> Result<Self> {
        let all = TokenBatch::padded(rows)?;
        reader.model.check(&all, 0)?;
        let mut parts = match rows.iter().all(|row| row.len() == all.seq_len()) {
            true => vec![Part::new(None, all)],
            false => {
                let all = rows.iter().enumerate();
                all.map(|(index, row)| Ok(Part::new(Some(index), TokenBatch::single(row)?)))
                    .collect::<Result<_>>()?
            }
        };
        let outputs = reader.outputs();
        let mut entries = serde_json::Map::new();
        let mut end = 0;
        for part in &mut parts {
            let (rows, tokens) = (part.batch.batch_size(), part.batch.seq_len());
            for (name, width) in &outputs {
                let (name, shape) = match part.row {
                    None => (name.clone(), vec![rows, tokens, *width]),
                    Some(row) => (format!("{name}.{row}"), vec![tokens, *width]),
                };
                part.starts.push(end);
                let start = end;
                end += rows * tokens * width * FLOAT;
                let offsets = [start, end];
                let entry =
                    serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": offsets});
                entries.insert(name, entry);
            }
        }
        let json = serde_json::to_vec(&entries)?;
        // Numbers are aligned to eight bytes.
        let padded = json.len().next_multiple_of(size_of::<u64>());
        let mut header = (padded as u64).to_le_bytes().to_vec();
        header.extend(json);
        header.resize(size_of::<u64>() + padded, b' ');
        Ok(Self {
            len: (header.len() + end) as u64,
            header,
            outputs,
            parts,
        })
    }

    /// Writes the model's outputs.
    fn write(&self, reader: &Reader<'_>, out: &mut File) -> Result<()> {
        if out.metadata()?.is_file() {
            return self.write_in_place(reader, out);
        }
        // Nothing can be skipped and written later.
        let mut all = Cursor::new(Vec::new());
        self.write_in_place(reader, &mut all)?;
        Ok(out.write_all(&all.into_inner())?)
    }

    fn write_in_place(&self, reader: &Reader<'_>, out: &mut (impl Write + Seek)) -> Result<()> {
        out.write_all(&self.header)?;
        for part in &self.parts {
            let mut done = 0;
            reader.read(&part.batch, |states| {
                for (index, (name, width)) in self.outputs.iter().enumerate() {
                    let start = self.header.len() + part.starts[index];
                    reader.numbers(&states, index, |row, tokens| {
                        check(tokens, (name, *width), (part.row.unwrap_or(row), done))?;
                        let token = row * part.batch.seq_len() + done;
                        let place = start + token * width * FLOAT;
                        out.seek(SeekFrom::Start(place as u64))?;
                        Ok(out.write_all(tokens)?)
                    })?;
                }
                done += states.last().map_or(0, |last| last.dims()[1]);
                Ok(())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bsbr_gpt2::Gpt2Config;
    use bsbr_gpt2::parameters::replace_tensors;
    use bsbr_hub::HubConfig;
    use burn::tensor::{Device, TensorData};
    use safetensors::SafeTensors;
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::commands::options;

    pub fn every_option_counts() {
        let line = "--model model --ids-file ids --out out";
        options::check(&[line], |args: &Args| {
            let offline = args.hub.config(HubConfig::new("cache")).offline;
            format!(
                "{:?} {:?} {:?} {:?}",
                (&args.model, &args.ids_file, &args.out, &args.device),
                (args.hidden_states, args.prefill_chunk_size),
                (args.allow_non_finite, offline),
                args.weights.products(),
            )
        });
    }

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

    /// The outputs of rows that are read in pieces.
    fn written(
        model: &Gpt2,
        rows: &[Vec<u32>],
        hidden_states: bool,
        piece: usize,
    ) -> Result<Vec<u8>> {
        let reader = Reader {
            model,
            hidden_states,
            piece,
        };
        let file = NumbersFile::of(&reader, rows)?;
        let mut out = Cursor::new(Vec::new());
        file.write_in_place(&reader, &mut out)?;
        let bytes = out.into_inner();
        assert_eq!(bytes.len() as u64, file.len);
        Ok(bytes)
    }

    /// Names, sizes and numbers of a file.
    fn tensors(bytes: &[u8]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let all = SafeTensors::deserialize(bytes).expect("a safetensors file");
        let numbers = |data: &[u8]| -> Vec<f32> {
            let all = data.as_chunks().0.iter();
            all.map(|x| f32::from_le_bytes(*x)).collect()
        };
        let one = |(name, view): (String, TensorView<'_>)| {
            (name, view.shape().to_vec(), numbers(view.data()))
        };
        let mut all: Vec<_> = all.tensors().into_iter().map(one).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    #[test]
    fn rows_of_several_lengths_give_what_each_gives_alone() {
        let model = model();
        let rows = [vec![1, 2, 3], vec![4], vec![5, 6, 7, 8, 9]];
        let all = tensors(&written(&model, &rows, true, 512).expect("all rows"));
        for (index, row) in rows.iter().enumerate() {
            let row = std::slice::from_ref(row);
            let alone = written(&model, row, true, 512).expect("a row");
            for (name, shape, numbers) in tensors(&alone) {
                let own = (format!("{name}.{index}"), shape[1..].to_vec(), numbers);
                assert!(all.contains(&own), "{name} of row {index}");
            }
        }
        assert_eq!(all.len(), 3 * 4);
    }

    #[test]
    fn rows_of_one_length_are_a_batch() {
        let rows = [vec![1, 2, 3], vec![4, 5, 6]];
        let all = tensors(&written(&model(), &rows, false, 512).expect("a batch"));
        let (name, shape, _) = &all[0];
        assert_eq!(
            (name.as_str(), shape.as_slice()),
            ("logits", &[2, 3, 20][..])
        );
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn pieces_give_what_one_pass_gives() {
        let model = model();
        let rows = [0, 5].map(|start| (start..start + 13).collect::<Vec<u32>>());
        let whole = tensors(&written(&model, &rows, true, 13).expect("one pass"));
        for piece in [1, 4, 12] {
            let pieces = tensors(&written(&model, &rows, true, piece).expect("pieces"));
            for ((name, shape, numbers), found) in whole.iter().zip(&pieces) {
                assert_eq!((name, shape), (&found.0, &found.1));
                let mut pairs = numbers.iter().zip(&found.2);
                assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-5), "{name}, {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_written() {
        let broken = replace_tensors(model(), |name, shape| {
            (name == "ln_f.bias").then(|| TensorData::new(vec![f32::NAN; 8], shape.to_vec()))
        });
        let rows = [vec![1, 2], vec![3, 4]];
        let error = written(&broken, &rows, false, 512).expect_err("logits are NaN");
        let text = error.to_string();
        assert!(
            text.contains("logits of row 0, position 0 are NaN"),
            "{text}"
        );
        let rows = [vec![1, 2], vec![3]];
        assert!(written(&broken, &rows, true, 512).is_err());
        assert!(written(&model(), &[vec![1], vec![]], false, 512).is_err());
    }
}
