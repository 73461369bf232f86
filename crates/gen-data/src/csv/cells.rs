use std::collections::BTreeMap;
use std::path::Path;

use csv::StringRecord;
use gen_core::{Error, Result};
use tch::Tensor;

use super::style::{Style, number};
use super::table::{CsvOptions, Table};
use crate::words::count;

/// The rows read so far.
#[derive(Default)]
struct Rows {
    /// Row by row; NaN for the cells in `odd`.
    values: Vec<f64>,
    lines: Vec<u64>,
    /// Cells that are empty, or numbers only in some style, by row and column.
    odd: BTreeMap<(usize, usize), String>,
}

/// A table while it is read.
pub(super) struct Cells<'a> {
    path: &'a Path,
    /// The names of all columns of the file.
    pub(super) header: Option<Vec<String>>,
    /// The columns to take, counted from 0.
    pub(super) taken: Vec<usize>,
    rows: Rows,
}

impl<'a> Cells<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        Cells { path, header: None, taken: Vec::new(), rows: Rows::default() }
    }

    /// Sets the names of the `columns` columns, and those to take: the `wanted`, or all.
    pub(super) fn take(&mut self, header: Option<Vec<String>>, columns: usize, wanted: &[String]) -> Result<()> {
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
                format!("there is no column `{name}`: the columns have no names, only numbers from 1 to {columns}"),
            )),
            _ => Err(Error::unknown("column", name, names.iter().map(String::as_str))),
        }
    }

    /// The name of a taken column, for messages.
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
    /// When a cell is not a number in any style; the text names it.
    pub(super) fn push(&mut self, record: &StringRecord, line: u64) -> Result<(), String> {
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

    pub(super) fn into_table(
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
                    "line {}, {}: the cell is empty: fill it, or leave out its row or its column (?columns= takes the \
                     columns that it names)",
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
            Some(header) => self.taken.iter().map(|index| header.get(*index).cloned().unwrap_or_default()).collect(),
            None => Vec::new(),
        };
        let x = Tensor::from_slice(&self.rows.values).view([-1, self.taken.len() as i64]);
        Ok(Table { x, names, lines: self.rows.lines, warnings: Vec::new() })
    }

    /// Drops the rows and columns in which every cell is empty.
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

    /// Converts the odd cells of each column that are all numbers in one style.
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
                format!("`{example}` {note}, like the others in {}", columns.join(", "))
            }));
        }
    }
}

/// The number of kept entries before each.
fn places(keeps: &[bool]) -> Vec<usize> {
    let count = |sum: &mut usize, keeps: &bool| {
        let before = *sum;
        *sum += usize::from(*keeps);
        Some(before)
    };
    keeps.iter().scan(0, count).collect()
}
