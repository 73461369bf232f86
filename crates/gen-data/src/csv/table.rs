use tch::Tensor;

/// Options for reading a table, where the file leaves a choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvOptions {
    /// The columns to take, in this order, by name or by number counted from 1; all if empty.
    pub columns: Vec<String>,
    /// Whether the first line holds the names of the columns; `None` to decide by its cells: it does if none is a
    /// number.
    pub header: Option<bool>,
    /// Whether commas in numbers are decimal; `None` to decide by the cells.
    pub decimal_comma: Option<bool>,
}

/// A table that was read from a file.
#[derive(Debug)]
pub struct Table {
    /// The numbers: `f64 [n, columns]`, all finite.
    pub x: Tensor,
    /// The names of the columns; empty where the file has none.
    pub names: Vec<String>,
    /// The line of the file at which each row begins, counted from 1.
    pub lines: Vec<u64>,
    /// Notes on how the file was understood where it is ambiguous, one line each.
    pub warnings: Vec<String>,
}
