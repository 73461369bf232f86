//! The files of an evaluation.

use std::path::Path;

use anyhow::Context;
use gen_core::data::bytes_to_signed;
use gen_eval::{Measured, Measurement};
use gen_run::grid;
use serde::Serialize;
use tch::Tensor;

use crate::files::write_rows;

/// Writes `evaluation.csv`, `metrics.csv` and `samples/evaluation.png`, with the first 64 images or all points. The
/// picture comes last, so that the numbers are saved even if it fails.
pub(super) fn save(folder: &Path, measured: &Measured, samples: &Tensor) -> anyhow::Result<()> {
    write_rows(&folder.join("metrics.csv"), rows(measured))?;
    write_rows(&folder.join("evaluation.csv"), [measured])?;
    let picture = match samples.dim() {
        4 => bytes_to_signed(&samples.narrow(0, 0, samples.size()[0].min(64))),
        _ => samples.shallow_clone(),
    };
    Ok(grid::save_grid(&picture, &folder.join("samples").join("evaluation.png"), 8)?)
}

/// A row of `metrics.csv`: a [`Measurement`] with the name of its run.
#[derive(Serialize)]
struct Row<'a> {
    run: &'a str,
    metric: &'a str,
    space: &'a str,
    parameter: &'a str,
    value: f64,
    standard_error: Option<f64>,
    floor: Option<f64>,
    n_real: usize,
    n_fake: usize,
    direction: &'a str,
    target: Option<f64>,
}

fn rows(measured: &Measured) -> impl Iterator<Item = Row<'_>> {
    measured.metrics.iter().map(move |measurement| {
        let Measurement { metric, space, parameter, value, standard_error, floor, .. } = measurement;
        Row {
            run: &measured.row.run,
            metric,
            space,
            parameter,
            value: *value,
            standard_error: *standard_error,
            floor: *floor,
            n_real: measurement.n_real,
            n_fake: measurement.n_fake,
            direction: measurement.direction.name(),
            target: measurement.direction.target(),
        }
    })
}

/// The largest resident memory in the history of a run, in MiB.
pub(super) fn peak_rss_mib(history: &Path) -> anyhow::Result<Option<f64>> {
    if !history.exists() {
        return Ok(None);
    }
    let read = || -> anyhow::Result<Option<f64>> {
        let mut reader = csv::Reader::from_path(history)?;
        let column = reader.headers()?.iter().position(|name| name == "rss_mib");
        let column = column.context("it has no column rss_mib")?;
        let mut peak: Option<f64> = None;
        for record in reader.records() {
            let value: Option<f64> = record?.get(column).and_then(|cell| cell.parse().ok());
            peak = value.map_or(peak, |value| Some(peak.map_or(value, |peak| peak.max(value))));
        }
        Ok(peak)
    };
    read().with_context(|| history.display().to_string())
}

#[cfg(test)]
mod tests {
    use gen_eval::{COLUMNS, Direction, Evaluation, METRICS, direction};

    use super::*;

    /// The text of a CSV file of these rows.
    fn csv<T: Serialize>(rows: impl IntoIterator<Item = T>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        write_rows(&path, rows).unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    /// The rows of the data dictionary about one file.
    fn documented(file: &str) -> Vec<csv::StringRecord> {
        let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
        reader.records().map(Result::unwrap).filter(|row| &row[0] == file).collect()
    }

    fn header() -> Vec<String> {
        let text = csv([Measured::default()]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.headers().unwrap().iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_documented_columns_are_those_of_the_file() {
        let names: Vec<String> = documented("*/evaluation.csv").iter().map(|row| row[1].to_owned()).collect();
        assert_eq!(names, header());
    }

    #[test]
    fn the_documented_types_and_directions_are_those_of_the_tables() {
        for (row, column) in documented("*/evaluation.csv").iter().zip(&COLUMNS) {
            assert_eq!(&row[2], column.kind(), "{}", column.name);
            if let Some(number) = column.number() {
                assert_eq!(&row[4], direction(number).name(), "{}", column.name);
            }
        }
    }

    #[test]
    fn the_report_describes_every_number_with_its_direction() {
        let mut reader = csv::Reader::from_reader(gen_report::MEASURES.as_bytes());
        let described: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        for number in METRICS.iter().flat_map(|metric| metric.numbers) {
            let row = described.iter().find(|row| &row[0] == number.name);
            let row = row.unwrap_or_else(|| panic!("measures.csv has no row `{}`", number.name));
            let directions = (number.direction.name(), number.direction.target());
            assert_eq!((&row[3], row[4].parse().ok()), directions, "{}", number.name);
        }
    }

    #[test]
    fn missing_values_are_empty() {
        let text = csv([Measured::default()]);
        assert_eq!(text.lines().nth(1).unwrap(), ",".repeat(header().len() - 1));
    }

    #[test]
    fn metrics_have_a_row_each_and_the_documented_columns() {
        let found = Measurement {
            metric: "density".to_owned(),
            space: "pca-64".to_owned(),
            parameter: "k=5".to_owned(),
            value: 0.5,
            standard_error: Some(0.25),
            floor: None,
            n_real: 10,
            n_fake: 20,
            direction: Direction::Target(1.0),
        };
        let row = Evaluation { run: "vae".to_owned(), ..Evaluation::default() };
        let text = csv(rows(&Measured { row, metrics: vec![found] }));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "vae,density,pca-64,k=5,0.5,0.25,,10,20,target,1.0");
        let columns: Vec<String> = documented("*/metrics.csv").iter().map(|row| row[1].to_owned()).collect();
        assert_eq!(lines[0], columns.join(","));
    }

    #[test]
    fn the_peak_is_the_largest_in_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.csv");
        assert_eq!(peak_rss_mib(&path).unwrap(), None);
        std::fs::write(&path, "step,rss_mib\n1,10.5\n2,\n3,12.5\n4,11\n").unwrap();
        assert_eq!(peak_rss_mib(&path).unwrap(), Some(12.5));
        std::fs::write(&path, "step\n1\n").unwrap();
        assert!(peak_rss_mib(&path).is_err());
    }
}
