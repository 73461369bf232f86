//! Signals that ask a program to end are noted, so that work can be saved; a second one of a person ends it at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::flag;

/// What a person sends, who may lose patience: the second ends the program at once.
const OF_PEOPLE: [i32; 3] = [SIGINT, SIGTERM, SIGQUIT];
/// What terminals that are closed and batch systems send before a job's time is over, some of them more than once.
const OF_SYSTEMS: [i32; 5] = [SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU, SIGALRM];

/// Signals that have come since this value was made.
pub(crate) struct Signals {
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// From here on the first signal does not end the program.
    pub(crate) fn catch() -> std::io::Result<Self> {
        let (last, came) = (Arc::default(), Arc::<AtomicBool>::default());
        let note = |signal: i32| {
            flag::register_usize(signal, Arc::clone(&last), usize::from(exit_code(signal))).map(|_| ())
        };
        for signal in OF_PEOPLE {
            // In this order: the first signal finds nothing noted, the second does.
            flag::register_conditional_shutdown(signal, i32::from(exit_code(signal)), came.clone())?;
            flag::register(signal, came.clone())?;
            note(signal)?;
        }
        for signal in OF_SYSTEMS {
            // `nohup` has the program go on when its terminal is closed.
            if !(signal == SIGHUP && is_ignored(SIGHUP)) {
                note(signal)?;
            }
        }
        // A file that grows beyond a limit is an error of whoever writes it, which can be told.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(Signals { last })
    }

    /// The exit code for the signal that came, if one did.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self.last.load(Ordering::SeqCst) {
            0 => None,
            code => u8::try_from(code).ok(),
        }
    }
}

/// Whether whoever started this program had it ignore a signal; unknown where the system does not tell.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
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
