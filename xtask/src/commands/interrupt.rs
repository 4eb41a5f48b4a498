//! Ctrl-C, where what is there is to be kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result};

/// What a shell calls the end of a process by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Nothing is under way that would be lost.
const IDLE: u8 = 0;
/// Something is under way.
const BUSY: u8 = 1;
/// It is to end.
const PRESSED: u8 = 2;

/// Whether Ctrl-C was pressed. Pressed again, or while nothing is under way, it ends the process.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicU8>);

impl Interrupt {
    /// Listens from now on; something is under way.
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

    /// Something is under way.
    pub fn begin(&self) {
        self.0.store(BUSY, Ordering::SeqCst);
    }

    /// Nothing is under way any more.
    pub fn end(&self) {
        self.0.store(IDLE, Ordering::SeqCst);
    }
}
