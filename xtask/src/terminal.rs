//! Lines, tables and progress bars for the terminal.

use std::fmt::Display;
use std::io::Write;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
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

/// Rows as columns of text: the first `left` are aligned to the left, the others, which hold numbers, to the right.
pub(crate) fn table<R: IntoIterator<Item = String>>(
    rows: impl IntoIterator<Item = R>,
    left: usize,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_cell_alignment(if index < left { CellAlignment::Left } else { CellAlignment::Right });
    }
    table.trim_fmt()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_spaces() {
        let rows = [["case", "ms"], ["vae", "12.50"], ["dcgan, wide", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(rows, 1), "case            ms\nvae          12.50\ndcgan, wide");
    }
}
