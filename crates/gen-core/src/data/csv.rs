//! Tables of numbers as data sets: `csv:<path>`.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use tch::Tensor;

use crate::error::{Error, Result};

/// Points `f32 [n, columns]` from a CSV file of numbers.
///
/// The first row is a header if no cell of it is a number. Columns are separated by commas; or by semicolons or tabs,
/// if the first line has those and no comma.
///
/// # Errors
/// [`Error::Format`] when a cell is not a finite number, with its row and column, or a row has another length.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(&bytes, path)
}

/// [`read`] of a file's content; `path` is for the messages.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Tensor> {
    let format = |problem: String| Error::format(path, problem);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .delimiter(delimiter(bytes))
        .from_reader(bytes);
    let mut header: Option<StringRecord> = None;
    let mut columns = 0;
    let mut values: Vec<f32> = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| format(format!("not a CSV file: {error}")))?;
        let line = record.position().map_or(0, csv::Position::line);
        if index == 0 {
            columns = record.len();
            if record.iter().all(|cell| cell.parse::<f64>().is_err()) {
                header = Some(record);
                continue;
            }
        }
        if record.len() != columns {
            let found = record.len();
            return Err(format(format!("line {line} has {found} cells, the first has {columns}")));
        }
        for (column, cell) in record.iter().enumerate() {
            let value = cell.parse::<f32>().ok().filter(|value| value.is_finite());
            values.push(value.ok_or_else(|| {
                let name = header.as_ref().and_then(|header| header.get(column));
                let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
                format(format!("line {line}, column {}{name}: `{cell}` is not a finite number", column + 1))
            })?);
        }
    }
    if values.is_empty() {
        return Err(format("there are no rows of numbers".to_owned()));
    }
    Ok(Tensor::from_slice(&values).view([-1, columns as i64]))
}

fn delimiter(bytes: &[u8]) -> u8 {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    b",;\t".iter().copied().find(|delimiter| line.contains(delimiter)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tensor> {
        parse(text.as_bytes(), Path::new("x.csv"))
    }

    #[test]
    fn headers_and_delimiters_are_recognised() {
        let expected = Tensor::from_slice(&[1f32, -2.5, 3e2, 4.0]).view([2, 2]);
        for text in [
            "1,-2.5\n3e2,4\n",
            "\u{feff}x,y\r\n1, -2.5\r\n3e2,4",
            "\"fixed acidity\";\"pH\"\n1;-2.5\n3e2;4\n",
            "1\t-2.5\n300\t4.0\n\n",
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_bad_cell_is_named() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            error("height,weight\n1,2\n3,heavy\n"),
            "x.csv: line 3, column 2 (`weight`): `heavy` is not a finite number"
        );
        assert_eq!(error("1,2\n3,\n"), "x.csv: line 2, column 2: `` is not a finite number");
        assert_eq!(error("1,2\nNaN,3\n"), "x.csv: line 2, column 1: `NaN` is not a finite number");
        assert_eq!(error("1,x\n2,3\n"), "x.csv: line 1, column 2: `x` is not a finite number");
        assert_eq!(error("1,2\n3\n"), "x.csv: line 2 has 1 cells, the first has 2");
        assert_eq!(error("a,b\n"), "x.csv: there are no rows of numbers");
        assert_eq!(error(""), "x.csv: there are no rows of numbers");
    }
}
