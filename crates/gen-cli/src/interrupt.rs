//! Ctrl-C and the system's request to end: the first is noted, so that work can be saved; the second ends at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Signals that have come since this value was made.
pub(crate) struct Signals {
    came: Arc<AtomicBool>,
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// From here on the first signal does not end the program.
    pub(crate) fn catch() -> std::io::Result<Self> {
        let signals = Signals { came: Arc::default(), last: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds nothing noted, the second does.
            flag::register_conditional_shutdown(signal, i32::from(exit_code(signal)), signals.came.clone())?;
            flag::register(signal, signals.came.clone())?;
            flag::register_usize(signal, signals.last.clone(), usize::from(exit_code(signal)))?;
        }
        Ok(signals)
    }

    /// The exit code for the signal that came, if one did.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self.last.load(Ordering::SeqCst) {
            0 => None,
            code => u8::try_from(code).ok(),
        }
    }
}

/// What shells report of a program that a signal ended.
fn exit_code(signal: i32) -> u8 {
    128 + u8::try_from(signal).unwrap_or_default()
}

/// A signal asked the program to end, and it did what it had to.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub(crate) exit_code: u8,
    /// What was kept, and how to go on.
    pub(crate) message: String,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Interrupted {}
