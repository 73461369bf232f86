//! Messages on standard error, one line each.

use std::fmt::Display;
use std::io::Write;

/// Prints one line. A standard error that is closed loses the line, and nothing else.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a warning.
pub(crate) fn warn(text: impl Display) {
    tell(format!("warning: {text}"));
}

/// An error and its causes in one line: the first line of each. A cause that the text before it ends with is not
/// repeated.
pub(crate) fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.lines().next().unwrap_or_default();
        if !line.ends_with(cause) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(cause);
        }
    }
    line
}
