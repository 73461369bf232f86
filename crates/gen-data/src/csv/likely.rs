//! Warnings about what was read as data and is probably something else.

use tch::Tensor;

use super::table::{CsvOptions, Table};

/// A column of consecutive numbers looks like an index from this number of rows on.
const COUNTED: usize = 10;
/// In a table of this many rows, the first is rarely the only one with ascending values by chance.
const ENOUGH: usize = 20;

/// Adds a warning for a first row that may be a header, for each column that may number the rows, and for commas that
/// may be decimal.
pub(super) fn warn(table: &Table, options: &CsvOptions, commas_separate: bool, body: &str, warnings: &mut Vec<String>) {
    if table.names.is_empty() && options.header.is_none() && first_row_looks_like_a_header(&table.x) {
        warnings.push(
            "the first row looks like a header of numbers, but was read as data: add ?header=yes if it is a header, \
             ?header=no if it is not"
                .to_owned(),
        );
    }
    if options.columns.is_empty() {
        for column in 0..table.x.size()[1] as usize {
            if let Some(why) = looks_like_an_index(table, column) {
                warnings.push(format!(
                    "column {}{} {why}, like an index, and is learned like the others: to leave it out, name the \
                     columns to take in ?columns=",
                    column + 1,
                    name(table, column).map(|name| format!(" (`{name}`)")).unwrap_or_default()
                ));
            }
        }
    }
    if commas_separate && table.names.is_empty() && options.decimal_comma.is_none() && pairs_of_digits(body) {
        warnings.push(
            "all cells are whole numbers, in pairs: add ?decimal=comma if the commas between them are decimal, \
             ?decimal=point if they are not"
                .to_owned(),
        );
    }
}

fn name(table: &Table, column: usize) -> Option<&str> {
    table.names.get(column).map(String::as_str)
}

/// Whether the first row has a property of headers that the other rows lack.
fn first_row_looks_like_a_header(x: &Tensor) -> bool {
    let [rows, columns] = x.size()[..] else { return false };
    if rows < 3 {
        return false;
    }
    let looked_at = x.narrow(0, 0, rows.min(1000));
    let Ok(values) = Vec::<f64>::try_from(looked_at.reshape([-1])) else { return false };
    let rows: Vec<&[f64]> = values.chunks_exact(columns as usize).collect();
    let [first, others @ ..] = &rows[..] else { return false };
    let alone_is_whole = is_whole(first) && !others.iter().any(|row| is_whole(row));
    if columns == 1 {
        // A single column without a name is called 0 by pandas.
        return alone_is_whole && (first[0] == 0.0 || is_far(first, others));
    }
    let alone_counts = counts(first) && 10 * others.iter().filter(|row| counts(row)).count() <= rows.len();
    let alone_ascends = ascends(first) && rows.len() >= ENOUGH && !others.iter().any(|row| ascends(row));
    alone_counts || alone_ascends || (alone_is_whole && ascends(first)) || is_far(first, others)
}

fn is_whole(row: &[f64]) -> bool {
    row.iter().all(|value| value.fract() == 0.0)
}

fn ascends(row: &[f64]) -> bool {
    row.windows(2).all(|pair| pair[1] > pair[0])
}

/// Whether a row has ascending whole numbers at equal distances, such as years.
fn counts(row: &[f64]) -> bool {
    is_whole(row) && ascends(row) && row.windows(2).all(|pair| pair[1] - pair[0] == row[1] - row[0])
}

/// Whether each value is further from all others of its column than those are from each other.
fn is_far(first: &[f64], others: &[&[f64]]) -> bool {
    first.iter().enumerate().all(|(column, value)| {
        let ends = (f64::INFINITY, f64::NEG_INFINITY);
        let ends = others.iter().fold(ends, |(low, high), row| (low.min(row[column]), high.max(row[column])));
        let (low, high) = ends;
        high > low && (low - value).max(value - high) > high - low
    })
}

/// Why a column looks like an index of the rows, if it does.
fn looks_like_an_index(table: &Table, column: usize) -> Option<&'static str> {
    let values = Vec::<f64>::try_from(table.x.select(1, column as i64)).ok()?;
    if values.iter().any(|value| value.fract() != 0.0) {
        return None;
    }
    let counts = values.windows(2).all(|pair| pair[1] - pair[0] == 1.0);
    if counts && values.len() >= COUNTED {
        return Some("numbers the rows");
    }
    if column > 0 {
        return None;
    }
    let mut sorted = values;
    sorted.sort_by(f64::total_cmp);
    let distinct = sorted.windows(2).all(|pair| pair[1] > pair[0]);
    let unnamed = name(table, column).is_some_and(|name| name.is_empty() || name.starts_with("Unnamed"));
    if unnamed && distinct {
        return Some("has no name and a different whole number in every row");
    }
    let contiguous = sorted.windows(2).all(|pair| pair[1] - pair[0] == 1.0);
    (contiguous && sorted.len() >= COUNTED).then_some("has each number of a range once")
}

/// Whether every row has an even number of cells, all made of digits, where cells in even places may have a sign.
fn pairs_of_digits(body: &str) -> bool {
    let digits = |cell: &str| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
    let is_pair = |line: &str| {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let sound = |(i, cell): (usize, &&str)| digits(if i % 2 == 0 { cell.trim_start_matches('-') } else { cell });
        cells.len().is_multiple_of(2) && cells.iter().enumerate().all(sound)
    };
    let mut lines = body.split(['\r', '\n']).filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.all(is_pair)
}
