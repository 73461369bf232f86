//! Tables of numbers as data sets: `csv:<path>`.

mod cell;
mod layout;
mod likely;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use csv::{Reader, ReaderBuilder, StringRecord, Trim};
use tch::Tensor;

use self::cell::{Style, number};
use self::layout::{Layout, Separator};
use gen_core::{Error, Result};

/// How a table is to be read, where it does not say so itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvOptions {
    /// The columns to take, in this order, by name or by number counted from 1; all if empty.
    pub columns: Vec<String>,
    /// Whether the first line holds the names of the columns; `None` to look: it does if no cell of it is a number.
    pub header: Option<bool>,
    /// Whether commas in numbers are decimal; `None` to look.
    pub decimal_comma: Option<bool>,
}

/// A table that was read.
#[derive(Debug)]
pub struct Table {
    /// The numbers: `f64 [n, columns]`, all finite.
    pub x: Tensor,
    /// The names of the columns; empty where the file has none.
    pub names: Vec<String>,
    /// The line of the file that each row begins in, counted from 1.
    pub lines: Vec<u64>,
    /// How the file was understood where that is not plain; each is one line.
    pub warnings: Vec<String>,
}

/// Points from a CSV file of numbers.
///
/// Columns are separated by commas, semicolons, tabs, `|` or, where there is none of these, spaces. Lines that begin with
/// `#` are comments; the first may hold the names. Numbers may have decimal commas, or commas between thousands, and
/// `True` and `False` are 1 and 0. The text is UTF-8, UTF-16 or else Windows-1252. Rows and columns without any number are
/// left out. All this is told in [`Table::warnings`], and so are a first row that may be a header and a column that may
/// count the rows.
///
/// # Errors
/// [`Error::Format`] when a cell is not a finite number, with its line and column, a row has another length, or the file
/// is no text; [`Error::Unknown`] for a column that is not there.
pub fn read(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Table> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes, path, options)
}

/// [`read`] of a file's content; `path` is for the messages.
pub(super) fn parse(bytes: &[u8], path: &Path, options: &CsvOptions) -> Result<Table> {
    let format = |problem: String| Error::format(path, problem);
    let (text, note) = text::decode(bytes).map_err(format)?;
    let layout = Layout::of(&text, options.decimal_comma == Some(true));
    let mut warnings: Vec<String> = note.into_iter().collect();
    if layout.comments > 0 {
        warnings.push(format!("left out {} that begin with # as comments", count(layout.comments, "line")));
    }
    let body = match layout.separator {
        Separator::Spaces => joined_by_tabs(&text[layout.start..]),
        Separator::Character(_) => text[layout.start..].to_owned(),
    };
    let separator = match layout.separator {
        Separator::Spaces => b'\t',
        Separator::Character(character) => character,
    };
    let mut cells = Cells { path, header: None, taken: Vec::new(), rows: Rows::default() };
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

/// "1 line", "2 lines".
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Each line with one tab between its words.
fn joined_by_tabs(text: &str) -> String {
    let lines = text.split('\n').map(|line| line.split_whitespace().collect::<Vec<_>>().join("\t"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a first row holds names: no cell of it is a number, or none but the labels after an empty corner, as pandas
/// writes a table whose columns are numbered.
fn is_header(record: &StringRecord) -> bool {
    let is_name = |cell: &str| number(cell).is_none() && !Style::fits_any(cell);
    let is_label = |cell: &str| cell.parse::<i64>().is_ok();
    let mut cells = record.iter();
    record.iter().all(is_name) || (cells.next() == Some("") && record.len() > 1 && cells.all(is_label))
}

/// The rows as far as they were read.
#[derive(Default)]
struct Rows {
    /// Row by row; NaN where a cell is in `odd`.
    values: Vec<f64>,
    lines: Vec<u64>,
    /// The cells that are empty or numbers to people only, by row and column.
    odd: BTreeMap<(usize, usize), String>,
}

struct Cells<'a> {
    path: &'a Path,
    /// The names of all columns of the file.
    header: Option<Vec<String>>,
    /// The columns that are taken, counted from 0.
    taken: Vec<usize>,
    rows: Rows,
}

impl Cells<'_> {
    /// Decides what columns to take.
    fn take(&mut self, header: Option<Vec<String>>, columns: usize, wanted: &[String]) -> Result<()> {
        self.header = header;
        self.taken = match wanted {
            [] => (0..columns).collect(),
            _ => wanted.iter().map(|name| self.index(name, columns)).collect::<Result<_>>()?,
        };
        Ok(())
    }

    fn index(&self, name: &str, columns: usize) -> Result<usize> {
        let names = self.header.as_deref().unwrap_or_default();
        let mut found = names.iter().enumerate().filter(|(_, known)| *known == name).map(|(index, _)| index);
        match (found.next(), found.next(), name.parse::<usize>()) {
            (Some(_), Some(_), _) => Err(Error::format(
                self.path,
                format!("two columns are called `{name}`: take them by number, counted from 1"),
            )),
            (Some(index), None, _) => Ok(index),
            (None, _, Ok(number)) if (1..=columns).contains(&number) => Ok(number - 1),
            _ if names.is_empty() => Err(Error::format(
                self.path,
                format!(
                    "there is no column `{name}`: the columns have no names, and numbers from 1 to {columns}"
                ),
            )),
            _ => Err(Error::unknown("column", name, names.iter().map(String::as_str))),
        }
    }

    /// How messages call a taken column.
    fn name(&self, column: usize) -> String {
        let index = self.taken[column];
        match self.header.as_ref().and_then(|header| header.get(index)) {
            Some(name) => format!("column {} (`{name}`)", index + 1),
            None => format!("column {}", index + 1),
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The cell that is no number of any style.
    fn push(&mut self, record: &StringRecord, line: u64) -> Result<(), String> {
        let row = self.rows.lines.len();
        for column in 0..self.taken.len() {
            let cell = &record[self.taken[column]];
            let value = number(cell).filter(|value| value.is_finite());
            if value.is_none() {
                if !cell.is_empty() && !Style::fits_any(cell) {
                    return Err(self.not_a_number(line, column, cell));
                }
                self.rows.odd.insert((row, column), cell.to_owned());
            }
            self.rows.values.push(value.unwrap_or(f64::NAN));
        }
        self.rows.lines.push(line);
        Ok(())
    }

    fn not_a_number(&self, line: u64, column: usize, cell: &str) -> String {
        format!("line {line}, {}: `{cell}` is not a finite number", self.name(column))
    }

    fn into_table(
        mut self,
        commas_separate: bool,
        options: &CsvOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Table> {
        self.leave_out_empty(warnings);
        self.read_styles(commas_separate, options, warnings);
        if let Some(((row, column), cell)) = self.rows.odd.first_key_value() {
            let problem = match cell.as_str() {
                "" => format!(
                    "line {}, {}: the cell is empty, where a finite number is needed: fill it, or leave out its row or \
                     its column (?columns= takes those that are named)",
                    self.rows.lines[*row],
                    self.name(*column)
                ),
                cell => self.not_a_number(self.rows.lines[*row], *column, cell),
            };
            return Err(Error::format(self.path, problem));
        }
        if self.rows.values.is_empty() {
            return Err(Error::format(self.path, "there are no rows of numbers".to_owned()));
        }
        let names = match &self.header {
            Some(header) => {
                self.taken.iter().map(|index| header.get(*index).cloned().unwrap_or_default()).collect()
            }
            None => Vec::new(),
        };
        let x = Tensor::from_slice(&self.rows.values).view([-1, self.taken.len() as i64]);
        Ok(Table { x, names, lines: self.rows.lines, warnings: Vec::new() })
    }

    /// Drops the rows and columns that hold nothing at all.
    fn leave_out_empty(&mut self, warnings: &mut Vec<String>) {
        let (rows, columns) = (self.rows.lines.len(), self.taken.len());
        let (mut in_row, mut in_column) = (vec![0; rows], vec![0; columns]);
        for ((row, column), _) in self.rows.odd.iter().filter(|(_, cell)| cell.is_empty()) {
            in_row[*row] += 1;
            in_column[*column] += 1;
        }
        let keeps_row: Vec<bool> = in_row.iter().map(|empty| *empty < columns).collect();
        let empty_rows = keeps_row.iter().filter(|keeps| !**keeps).count();
        let keeps_column: Vec<bool> = in_column.iter().map(|empty| *empty < rows).collect();
        if empty_rows == rows || !(keeps_row.contains(&false) || keeps_column.contains(&false)) {
            return;
        }
        let dropped: Vec<String> =
            (0..columns).filter(|column| !keeps_column[*column]).map(|column| self.name(column)).collect();
        if !dropped.is_empty() {
            warnings.push(format!("left out {}, which is empty in every row", dropped.join(" and ")));
        }
        if empty_rows > 0 {
            warnings.push(format!("left out {} without any number", count(empty_rows, "row")));
        }
        let is_kept = |row: usize, column: usize| keeps_row[row] && keeps_column[column];
        let before = std::mem::take(&mut self.rows);
        let (new_row, new_column) = (places(&keeps_row), places(&keeps_column));
        self.rows = Rows {
            values: before
                .values
                .iter()
                .enumerate()
                .filter(|(i, _)| is_kept(i / columns, i % columns))
                .map(|(_, value)| *value)
                .collect(),
            odd: before
                .odd
                .into_iter()
                .filter(|((row, column), _)| is_kept(*row, *column))
                .map(|((row, column), cell)| ((new_row[row], new_column[column]), cell))
                .collect(),
            lines: before
                .lines
                .into_iter()
                .zip(&keeps_row)
                .filter(|(_, keeps)| **keeps)
                .map(|(line, _)| line)
                .collect(),
        };
        let mut keeps = keeps_column.iter();
        self.taken.retain(|_| keeps.next().copied().unwrap_or(true));
    }

    /// Reads the cells of each column that are numbers in one style; a column in no style keeps them.
    fn read_styles(&mut self, commas_separate: bool, options: &CsvOptions, warnings: &mut Vec<String>) {
        let columns = self.taken.len();
        let mut by_column: BTreeMap<usize, Vec<(usize, &str)>> = BTreeMap::new();
        for ((row, column), cell) in self.rows.odd.iter().filter(|(_, cell)| !cell.is_empty()) {
            by_column.entry(*column).or_default().push((*row, cell));
        }
        let mut read = Vec::new();
        let mut noted: BTreeMap<&'static str, (String, Vec<String>)> = BTreeMap::new();
        for (column, cells) in by_column {
            let style = match options.decimal_comma {
                Some(true) => Some(Style::DecimalComma),
                _ => Style::of(cells.iter().map(|(_, cell)| *cell), commas_separate),
            };
            let style = style.filter(|style| {
                !(*style == Style::DecimalComma && options.decimal_comma == Some(false))
                    && cells.iter().all(|(_, cell)| style.number(cell).is_some())
            });
            let Some(style) = style else { continue };
            let example = cells[0].1.to_owned();
            noted.entry(style.note()).or_insert((example, Vec::new())).1.push(self.name(column));
            read.extend(cells.iter().filter_map(|(row, cell)| Some((*row, column, style.number(cell)?))));
        }
        for (row, column, value) in read {
            self.rows.odd.remove(&(row, column));
            self.rows.values[row * columns + column] = value;
        }
        if options.decimal_comma.is_none() {
            warnings.extend(noted.into_iter().map(|(note, (example, columns))| {
                format!("`{example}` {note}, and so were the others in {}", columns.join(", "))
            }));
        }
    }
}

/// How many are kept before each.
fn places(keeps: &[bool]) -> Vec<usize> {
    let count = |sum: &mut usize, keeps: &bool| {
        let before = *sum;
        *sum += usize::from(*keeps);
        Some(before)
    };
    keeps.iter().scan(0, count).collect()
}

/// What to do about a cell that is no number: take the columns of numbers, if its own is none.
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
        return "; if the first line is a header, say so by ?header=yes".to_owned();
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
    format!("; the columns of numbers alone are taken by ?columns={}", whole.join(","))
}

/// The line, from 1, of a record that the reader began to look for at `start`: it passes over empty lines first.
fn line_of(start: &csv::Position, body: &[u8]) -> u64 {
    let rest = body.get(start.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    start.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests;
