use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord, Trim};
use gen_core::{Error, Result};

use super::cells::Cells;
use super::layout::{Layout, Separator};
use super::likely;
use super::style::{Style, number};
use super::table::{CsvOptions, Table};
use super::text::decode;
use crate::words::count;

/// Reads a CSV file of numbers.
///
/// Columns are separated by commas, semicolons, tabs, `|` or, in their absence, spaces. Lines that begin with `#` are
/// comments; the first may hold the names. Numbers may have decimal commas, or commas between thousands, and `True` and
/// `False` are 1 and 0. The text is UTF-8, UTF-16 or else Windows-1252. Rows and columns without any number are left
/// out. [`Table::warnings`] reports each of these, as well as a first row that may be a header and a column that may
/// number the rows.
///
/// # Errors
/// [`Error::Format`] when a cell is not a finite number, with its line and column, when a row has another length, or
/// when the file is not text; [`Error::Unknown`] for a column that does not exist.
pub fn read(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Table> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes, path, options)
}

/// Parses the content of a file; `path` is for the messages.
pub(crate) fn parse(bytes: &[u8], path: &Path, options: &CsvOptions) -> Result<Table> {
    let format = |problem: String| Error::format(path, problem);
    let (text, note) = decode(bytes).map_err(format)?;
    let layout = Layout::of(&text, options.decimal_comma == Some(true));
    let mut warnings: Vec<String> = note.into_iter().collect();
    if layout.comments > 0 {
        warnings.push(format!("left out {} of comments (#)", count(layout.comments, "line")));
    }
    let body = match layout.separator {
        Separator::Spaces => joined_by_tabs(&text[layout.start..]),
        Separator::Character(_) => text[layout.start..].to_owned(),
    };
    let separator = match layout.separator {
        Separator::Spaces => b'\t',
        Separator::Character(character) => character,
    };
    let mut cells = Cells::new(path);
    let mut columns = 0;
    for (index, record) in reader(&body, separator).records().enumerate() {
        let record = record.map_err(|error| format(format!("not a CSV file: {error}")))?;
        let line = record.position().map_or(0, |start| line_of(start, body.as_bytes()));
        if index == 0 {
            columns = record.len();
            let is_header = options.header.unwrap_or_else(|| layout.names.is_none() && is_header(&record));
            let names = match (is_header, options.header) {
                (true, _) => Some(record.iter().map(str::to_owned).collect()),
                (false, None) => layout.names.clone(),
                (false, Some(_)) => None,
            };
            cells.take(names, columns, &options.columns)?;
            if is_header {
                continue;
            }
        }
        let extra = record.len() == columns + 1 && record.iter().next_back() == Some("");
        if record.len() != columns && !extra {
            let found = record.len();
            return Err(format(format!("line {line} has {found} cells, the first has {columns}")));
        }
        if let Err(problem) = cells.push(&record, line) {
            return Err(format(problem + &advice(&body, separator, &cells)));
        }
    }
    let mut table = cells.into_table(separator == b',', options, &mut warnings)?;
    likely::warn(&table, options, separator == b',', &body, &mut warnings);
    table.warnings = warnings.into_iter().map(|warning| format!("{}: {warning}", path.display())).collect();
    Ok(table)
}

fn reader(body: &str, separator: u8) -> Reader<&[u8]> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .comment(Some(b'#'))
        .delimiter(separator)
        .from_reader(body.as_bytes())
}

/// Replaces the white space between the words of each line by one tab.
fn joined_by_tabs(text: &str) -> String {
    let lines = text.split('\n').map(|line| line.split_whitespace().collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a first row holds names: no cell is a number, or the first cell is empty and the others are whole numbers,
/// as pandas writes a table with numbered columns.
fn is_header(record: &StringRecord) -> bool {
    let is_name = |cell: &str| number(cell).is_none() && !Style::fits_any(cell);
    let is_label = |cell: &str| cell.parse::<i64>().is_ok();
    let mut cells = record.iter();
    record.iter().all(is_name) || (cells.next() == Some("") && record.len() > 1 && cells.all(is_label))
}

/// Advice about a cell that is not a number: to declare a header, or to take the columns of numbers only.
fn advice(body: &str, separator: u8, cells: &Cells<'_>) -> String {
    const LOOKED_AT: usize = 1000;
    let columns = cells.header.as_ref().map_or(cells.taken.iter().max().map_or(0, |last| last + 1), Vec::len);
    let mut numbers = vec![0; columns];
    let (mut rows, mut wrong_below) = (0, 0);
    let skipped = usize::from(cells.header.is_some());
    for record in reader(body, separator).records().skip(skipped).take(LOOKED_AT).filter_map(Result::ok) {
        rows += 1;
        for (column, cell) in record.iter().enumerate().take(columns) {
            let is_number = number(cell).is_some_and(f64::is_finite);
            numbers[column] += usize::from(is_number);
            wrong_below += usize::from(rows > 1 && !is_number);
        }
    }
    if cells.header.is_none() && rows > 1 && wrong_below == 0 {
        return "; if the first line is a header, add ?header=yes".to_owned();
    }
    let name = |index: usize| match cells.header.as_ref().and_then(|header| header.get(index)) {
        Some(name) if !name.is_empty() && !name.contains([',', '&', '?']) => name.clone(),
        _ => (index + 1).to_string(),
    };
    let whole: Vec<String> = (0..columns).filter(|column| numbers[*column] == rows).map(name).collect();
    let is_text = numbers.contains(&0);
    if rows == 0 || whole.is_empty() || whole.len() == columns || !is_text {
        return String::new();
    }
    format!("; ?columns={} takes only the columns of numbers", whole.join(","))
}

/// The line, counted from 1, of the record after `start`: the reader skips empty lines first.
fn line_of(start: &csv::Position, body: &[u8]) -> u64 {
    let rest = body.get(start.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    start.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}
