//! A training step of a small model: next-token cross entropy and AdamW.

use std::cell::RefCell;
use std::time::Instant;

use bsbr_gpt2::Gpt2Config;
use bsbr_train::measured_step::{Division, MeasuredStep};
use burn::tensor::Device;

use crate::bench::Place;
use crate::bench::names::DENSE;
use crate::error::ReportError;
use crate::rounds::{Case, Timing};

/// Rows of a batch.
const ROWS: usize = 8;
/// Tokens of a row.
pub(super) const WINDOW: usize = 256;

/// Four layers of 256 dimensions, with the bundled model's vocabulary.
pub(super) fn config() -> Gpt2Config {
    Gpt2Config {
        vocab_size: 3072,
        n_embd: 256,
        n_layer: 4,
        n_head: 4,
        ..Gpt2Config::default()
    }
}

/// Our step.
pub(super) fn case<'a>(
    config: &Gpt2Config,
    place: &Place,
    device: &Device,
) -> Result<Case<'a>, ReportError> {
    let division = match place.is_accelerator() {
        true => Division::Whole,
        false => Division::Threads,
    };
    let step = MeasuredStep::new(config, ROWS, WINDOW, division, device)?;
    let step = RefCell::new(step);
    let run: Timing<'a> = Box::new(move || {
        let start = Instant::now();
        let loss = step.borrow_mut().run().map_err(|error| error.to_string())?;
        match loss.is_finite() {
            true => Ok(start.elapsed().as_secs_f64()),
            false => Err("the loss is not finite".to_owned()),
        }
    });
    Ok(Case::timed(DENSE, WINDOW, Ok(run)))
}
