//! CSV files, read as they may be and written as RFC 4180 asks.

use std::path::Path;
use std::{fs, io};

use crate::atomic::write_atomically;
use crate::error::{Error, Result};

/// More than any table of numbers here has.
const MAX_BYTES: u64 = 64 << 20;

/// A CSV file with a header.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads a whole table; every row must have every column, and the last its end of line.
    ///
    /// An error is what is wrong with the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
        if size > MAX_BYTES {
            return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
        }
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        if !text.ends_with('\n') {
            return Err("its last line is cut off".to_owned());
        }
        let read = || -> Result<Self, csv::Error> {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let columns = reader.headers()?.iter().map(str::to_owned).collect();
            let rows = reader
                .records()
                .map(|row| Ok(row?.iter().map(str::to_owned).collect()))
                .collect::<Result<_, csv::Error>>()?;
            Ok(Table { columns, rows })
        };
        read().map_err(|error| error.to_string())
    }

    /// Where a column stands.
    pub(crate) fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// The numbers of a column; cells that hold none are `None`.
    pub(crate) fn numbers(&self, column: &str) -> Option<Vec<Option<f64>>> {
        let index = self.position(column)?;
        let number = |row: &Vec<String>| row[index].parse().ok().filter(|value: &f64| value.is_finite());
        Some(self.rows.iter().map(number).collect())
    }
}

/// Writes a table.
///
/// # Errors
///
/// If the file cannot be written, or a row has more or fewer cells than there are columns.
pub(crate) fn write(
    path: &Path,
    columns: &[&str],
    rows: impl IntoIterator<Item: IntoIterator<Item: AsRef<[u8]>>>,
) -> Result<()> {
    let bytes = || -> io::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(columns)?;
        for row in rows {
            writer.write_record(row)?;
        }
        writer.into_inner().map_err(|error| error.into_error())
    };
    write_atomically(path, &bytes().map_err(Error::write(path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_files_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        let rows = [["a,b", "say \"no\""], ["", "two\nlines"]];
        write(&path, &["one", "two"], rows).unwrap();
        let table = Table::read(&path).unwrap();
        assert_eq!(table.columns, ["one", "two"]);
        assert_eq!(table.rows, rows);
        assert!(table.numbers("three").is_none());
    }
}
