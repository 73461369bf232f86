//! The data dictionary: every column of every file, its type and its meaning.

use std::sync::LazyLock;

use serde::Deserialize;

/// The dictionary as it is kept, `file,name,type,unit,direction,meaning`.
///
/// `*` in a file stands for the name of a run, in a column for any letters. Columns of `runs.csv` and `summary.csv`
/// that are columns of a run's `evaluation.csv` are described there alone.
pub const COLUMNS: &str = include_str!("columns.csv");

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Column {
    pub(crate) file: String,
    pub(crate) name: String,
    /// The dtype in pandas.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) unit: String,
    pub(crate) direction: String,
    pub(crate) meaning: String,
}

pub(crate) const EVALUATION: &str = "*/evaluation.csv";
pub(crate) const RUNS: &str = "runs.csv";
pub(crate) const SUMMARY: &str = "summary.csv";
pub(crate) const MODELS: &str = "models.csv";
pub(crate) const METRICS: &str = "metrics.csv";
pub(crate) const HISTORY: &str = "history.csv";
pub(crate) const DICTIONARY: &str = "columns.csv";

/// The columns of `summary.csv`: those that people compare.
const COMPARED: [&str; 36] = [
    "run",
    "family",
    "model",
    "dataset",
    "seed",
    "status",
    "error",
    "weights",
    "feature_space",
    "fd",
    "fd_standard_error",
    "fd_floor",
    "second_space",
    "second_fd",
    "second_fd_floor",
    "kid",
    "kid_standard_error",
    "mmd",
    "modes_covered",
    "high_quality_share",
    "precision",
    "recall",
    "coverage",
    "second_coverage",
    "vendi",
    "copied_share",
    "memorised",
    "likelihood_kind",
    "bits_per_dim",
    "nll_nats",
    "sample_images_per_second",
    "sample_latency_ms",
    "nfe",
    "train_seconds",
    "parameters",
    "peak_rss_mib",
];

static KEPT: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let mut reader = csv::Reader::from_reader(COLUMNS.as_bytes());
    reader.deserialize().filter_map(Result::ok).collect()
});

static ALL: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let kept = |file: &'static str| KEPT.iter().filter(move |column| column.file == file).cloned();
    let mut runs = Vec::new();
    for column in kept(EVALUATION) {
        let after_seed = column.name == "seed";
        runs.push(Column { file: RUNS.to_owned(), ..column });
        if after_seed {
            runs.extend(kept(RUNS));
        }
    }
    let compared = COMPARED.iter().filter_map(|name| runs.iter().find(|column| column.name == *name));
    let summary: Vec<Column> = compared.map(|column| Column { file: SUMMARY.to_owned(), ..column.clone() }).collect();
    let rest = KEPT.iter().filter(|column| column.file != RUNS).cloned();
    runs.into_iter().chain(summary).chain(rest).collect()
});

/// The columns of a file, in order.
pub(crate) fn columns_of(file: &str) -> impl Iterator<Item = &'static Column> {
    ALL.iter().filter(move |column| column.file == file)
}

/// The names of the columns of a file, in order.
pub(crate) fn names_of(file: &str) -> Vec<&'static str> {
    columns_of(file).map(|column| column.name.as_str()).collect()
}

/// The rows of an experiment's `columns.csv`, with `more` columns that this version does not know but a run had.
pub(crate) fn rows(more: &[Column]) -> Vec<[&str; 6]> {
    // A file's columns stay together.
    let files = ALL.chunk_by(|one, next| one.file == next.file);
    let columns = files.flat_map(|known| known.iter().chain(more.iter().filter(|new| new.file == known[0].file)));
    columns
        .map(|Column { file, name, kind, unit, direction, meaning }| [file, name, kind, unit, direction, meaning])
        .map(|row| row.map(String::as_str))
        .collect()
}

/// A cell in the type of its column; empty where it holds something else. Infinite and NaN values stay.
pub(crate) fn typed(kind: &str, cell: &str) -> String {
    let number = || cell.parse::<f64>().ok();
    match kind {
        "string" => cell.to_owned(),
        "boolean" if matches!(cell, "true" | "false") => cell.to_owned(),
        "Int64" if cell.parse::<i64>().is_ok() => cell.to_owned(),
        "Int64" => match number().filter(|value| value.fract() == 0.0 && value.abs() < 9e15) {
            Some(value) => format!("{value:.0}"),
            None => String::new(),
        },
        "Float64" => match number() {
            Some(value) if value.is_finite() => cell.to_owned(),
            Some(value) => value.to_string(),
            None => String::new(),
        },
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_and_its_cells_are_what_they_may_be() {
        assert_eq!(KEPT.len(), COLUMNS.lines().count() - 1);
        for column in KEPT.iter() {
            let Column { file, name, kind, direction, meaning, .. } = column;
            assert!(file.ends_with(".csv") && !name.is_empty() && !meaning.is_empty(), "{column:?}");
            assert!(["string", "Int64", "Float64", "boolean"].contains(&kind.as_str()), "{column:?}");
            assert!(["", "lower", "higher", "target"].contains(&direction.as_str()), "{column:?}");
            let twice = KEPT.iter().filter(|other| (&other.file, &other.name) == (file, name)).count();
            assert_eq!(twice, 1, "{column:?}");
        }
    }

    #[test]
    fn status_and_error_stand_after_the_seed_and_unknown_columns_at_the_end() {
        let names = names_of(RUNS);
        let seed = names.iter().position(|name| *name == "seed").unwrap();
        assert_eq!(names[seed + 1..seed + 4], ["status", "error", "weights"]);
        assert_eq!(names.len(), names_of(EVALUATION).len() + 2);
        assert_eq!(names_of(SUMMARY), COMPARED);
        let unknown = Column { name: "new_metric".to_owned(), ..columns_of(RUNS).next().unwrap().clone() };
        let unknown = [unknown];
        let rows = rows(&unknown);
        let last = rows.iter().rfind(|row| row[0] == RUNS).unwrap();
        assert_eq!(last[1], "new_metric");
    }

    #[test]
    fn cells_have_the_type_of_their_column() {
        let cases = [
            ("Int64", "3", "3"),
            ("Int64", "3.0", "3"),
            ("Int64", "3.5", ""),
            ("Float64", "0.1", "0.1"),
            ("Float64", "nan", "NaN"),
            ("Float64", "-Infinity", "-inf"),
            ("Float64", "inf", "inf"),
            ("Float64", "many", ""),
            ("boolean", "true", "true"),
            ("boolean", "yes", ""),
            ("string", "NaN", "NaN"),
        ];
        for (kind, cell, expected) in cases {
            assert_eq!(typed(kind, cell), expected, "{kind} {cell}");
        }
    }
}
