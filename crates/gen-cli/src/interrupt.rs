//! Signals that ask the program to end. The first is recorded, so that work can be saved; the second from a person ends
//! the program at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::flag;

/// Signals that a person sends. The second ends the program at once.
const FROM_PEOPLE: [i32; 3] = [SIGINT, SIGTERM, SIGQUIT];
/// Signals that come from closed terminals, and from batch systems before the time of a job is over. Some systems send
/// them more than once.
const FROM_SYSTEMS: [i32; 5] = [SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU, SIGALRM];

/// The signals that arrived since this value was made.
pub(crate) struct Signals {
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// Records signals from here on, instead of ending the program at the first.
    pub(crate) fn catch() -> std::io::Result<Self> {
        let (last, came) = (Arc::default(), Arc::<AtomicBool>::default());
        let note =
            |signal: i32| flag::register_usize(signal, Arc::clone(&last), usize::from(exit_code(signal))).map(|_| ());
        for signal in FROM_PEOPLE {
            // The order matters: the shutdown is conditional on a signal recorded before this one.
            flag::register_conditional_shutdown(signal, i32::from(exit_code(signal)), came.clone())?;
            flag::register(signal, came.clone())?;
            note(signal)?;
        }
        for signal in FROM_SYSTEMS {
            // `nohup` makes programs ignore SIGHUP, so that they outlive their terminal.
            if !(signal == SIGHUP && is_ignored(SIGHUP)) {
                note(signal)?;
            }
        }
        // With SIGXFSZ caught, writing beyond the limit of a file's size is an ordinary error.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(Signals { last })
    }

    /// The exit code for the last signal that arrived, if any did.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self.last.load(Ordering::SeqCst) {
            0 => None,
            code => u8::try_from(code).ok(),
        }
    }
}

/// Whether the program was started with a signal ignored; `false` where the system does not tell.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// The exit code that shells report of a program that a signal ended.
fn exit_code(signal: i32) -> u8 {
    128 + u8::try_from(signal).unwrap_or_default()
}

/// A signal asked the program to end, and the work has been saved.
#[derive(Debug)]
pub(crate) struct Interrupted {
    pub(crate) exit_code: u8,
    /// Says what was saved, and how to go on.
    pub(crate) message: String,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Interrupted {}
