//! Ctrl-C handling that keeps existing output.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};

/// The exit status of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// No work is in progress.
const IDLE: u8 = 0;
/// Work is in progress.
const BUSY: u8 = 1;
/// The work should end.
const PRESSED: u8 = 2;

/// Whether Ctrl-C was pressed. A second press, or one without work in progress, ends the process.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicU8>);

impl Interrupt {
    /// Starts listening, with work in progress.
    ///
    /// # Errors
    ///
    /// Says why the signal cannot be caught.
    pub fn listen() -> Result<Self> {
        let state = Arc::new(AtomicU8::new(BUSY));
        let pressed = state.clone();
        ctrlc::set_handler(move || {
            if pressed.swap(PRESSED, Ordering::SeqCst) != BUSY {
                std::process::exit(INTERRUPTED);
            }
        })
        .context("listening for Ctrl-C")?;
        Ok(Self(state))
    }

    /// Whether it was pressed.
    pub fn pressed(&self) -> bool {
        self.0.load(Ordering::SeqCst) == PRESSED
    }

    /// Work begins.
    pub fn begin(&self) {
        self.0.store(BUSY, Ordering::SeqCst);
    }

    /// Work has ended.
    pub fn end(&self) {
        self.0.store(IDLE, Ordering::SeqCst);
    }
}
