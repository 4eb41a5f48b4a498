//! Reading a text once, with an optional file for the cache.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use bsbr_convert::{CacheOwner, ReadText, load_cache, save_cache};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_files::{Lock, check_file};
use bsbr_gpt2::{Gpt2, Gpt2Cache, TokenBatch};

use super::continuation;
use super::interrupt::Interrupt;

/// A cache file and its owner.
pub type Stored<'a> = (&'a Path, CacheOwner);

/// The named file, for a model loaded as `name` and its tokenizer.
///
/// # Errors
///
/// Errors of the tokenizer.
pub fn stored<'a>(
    file: Option<&'a Path>,
    name: &Path,
    model: &Gpt2,
    tokenizer: &TextTokenizer,
) -> Result<Option<Stored<'a>>> {
    let Some(file) = file else {
        return Ok(None);
    };
    let name = name.display().to_string();
    Ok(Some((
        file,
        CacheOwner::of(model, &name, &tokenizer.to_json()?),
    )))
}

/// Reads a text, except what was read before.
pub struct Reader<'a> {
    /// The model.
    pub model: &'a Gpt2,
    /// The text.
    pub ids: &'a [u32],
    /// Tokens per pass.
    pub piece: usize,
    /// The cache file.
    pub stored: Option<Stored<'a>>,
    /// Whether newly read tokens are added to an existing file.
    pub extends: bool,
}

impl Reader<'_> {
    /// The model's cache of the text, with a progress bar on a terminal and the time on standard
    /// error; `None` if Ctrl-C was pressed.
    ///
    /// # Errors
    ///
    /// Errors of the model about the text, a file of another text or model, or an unwritable file.
    pub fn read(&self, interrupt: &Interrupt) -> Result<Option<Gpt2Cache>> {
        self.model.check(&TokenBatch::single(self.ids)?, 0)?;
        let begun = self.begun()?;
        let writes = self.extends || begun.is_none();
        // Checked before reading, and locked until the end.
        let _lock = match &self.stored {
            Some((file, _)) if writes => {
                check_file(file, 0)?;
                Some(Lock::acquire(file)?)
            }
            _ => None,
        };
        let mut cache = begun.unwrap_or_else(|| self.model.new_cache());
        let before = cache.length_of_row(0);
        let start = Instant::now();
        let bar = continuation::reading_bar(self.ids.len());
        bar.set_position(before as u64);
        bar.reset_eta();
        for piece in self.ids[before..].chunks(self.piece.max(1)) {
            if interrupt.pressed() {
                break;
            }
            self.model
                .forward_cached(&TokenBatch::single(piece)?, &mut cache)?;
            bar.set_position(cache.length_of_row(0) as u64);
        }
        bar.finish_and_clear();
        let read = cache.length_of_row(0);
        let time = start.elapsed().as_secs_f64();
        let took = match read - before {
            0 => String::new(),
            tokens => format!(
                " in {}, {:.0} tokens/s",
                continuation::seconds(time),
                tokens as f64 / time.max(f64::MIN_POSITIVE)
            ),
        };
        eprintln!(
            "text: {read} of {} tokens ({before} from the cache){took}; cache: {}",
            self.ids.len(),
            indicatif::DecimalBytes(cache.bytes() as u64),
        );
        if let Some((file, owner)) = &self.stored
            && writes
            && read > before
        {
            save_cache(file, owner, &self.ids[..read], &cache)?;
            eprintln!("{}: written", file.display());
        }
        Ok((read == self.ids.len()).then_some(cache))
    }

    /// The cache of what was read before.
    fn begun(&self) -> Result<Option<Gpt2Cache>> {
        let Some((file, owner)) = &self.stored else {
            return Ok(None);
        };
        if file.symlink_metadata().is_err() {
            return Ok(None);
        }
        let ReadText { ids, cache } = load_cache(file, owner, self.model)?;
        let same = ids.iter().zip(self.ids).take_while(|(a, b)| a == b).count();
        if same < ids.len() {
            bail!(
                "{}: a cache of another text of {} tokens, of which only the first {same} agree \
                 with this text; name another file with --cache, or remove this one",
                file.display(),
                ids.len()
            );
        }
        Ok(Some(cache))
    }
}
