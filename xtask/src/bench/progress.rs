//! What `bench` is doing.

use crate::terminal::note;

/// One line about what is going on.
pub(super) fn say(line: &str) {
    note(&format!("bench: {line}"));
}
