//! Tables of numbers as data sets: `csv:<path>`.

mod cells;
mod layout;
mod likely;
mod read;
mod style;
mod table;
mod text;

pub(crate) use read::parse;
pub use read::read;
pub use table::{CsvOptions, Table};

#[cfg(test)]
mod tests;
