//! Lines, tables and progress bars for the terminal.

use std::fmt::Display;
use std::io::Write;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// Writes a line to standard error; a reader that has closed it loses nothing.
pub(crate) fn note(line: &str) {
    // The test harness would not capture it.
    if !cfg!(test) {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// Writes lines to standard output, without lines of other threads between them.
pub(crate) fn print<T: Display>(lines: impl IntoIterator<Item = T>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut lines = lines.into_iter();
    lines.try_for_each(|line| writeln!(out, "{line}")).context("cannot write to standard output")
}

/// A bar that counts bytes; hidden where standard error is not a terminal.
pub(crate) fn byte_bar(what: &str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::new(total.unwrap_or(0)).with_prefix(what.to_owned());
    let template = if total.is_some() {
        "{prefix} {bar:30.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec} {eta} left"
    } else {
        "{prefix} {spinner} {bytes} {bytes_per_sec}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
