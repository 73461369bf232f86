//! What an evaluation leaves in its folder.

use std::path::Path;

use anyhow::Context;
use gen_core::data::bytes_to_signed;
use gen_eval::{Evaluation, Measured, Measurement};
use gen_run::{grid, write_atomically};
use serde::Serialize;
use tch::Tensor;

/// Writes `evaluation.csv`, `metrics.csv` and `samples/evaluation.png`, the first 64 samples (points: all); the picture last,
/// so that one that fails costs no number.
pub(super) fn save(folder: &Path, measured: &Measured, samples: &Tensor) -> anyhow::Result<()> {
    write(&folder.join("metrics.csv"), &metrics_csv(measured)?)?;
    write(&folder.join("evaluation.csv"), &evaluation_csv(&measured.row)?)?;
    let picture = match samples.dim() {
        4 => bytes_to_signed(&samples.narrow(0, 0, samples.size()[0].min(64))),
        _ => samples.shallow_clone(),
    };
    Ok(grid::save_grid(&picture, &folder.join("samples").join("evaluation.png"), 8)?)
}

fn write(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    write_atomically(path, |temporary| std::fs::write(temporary, text).map_err(gen_core::Error::io(path)))?;
    Ok(())
}

fn evaluation_csv(row: &Evaluation) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(row)?;
    Ok(writer.into_inner()?)
}

/// A row of `metrics.csv`: a [`Measurement`] with the run that it is of.
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

fn metrics_csv(measured: &Measured) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for measurement in &measured.metrics {
        let Measurement { metric, space, parameter, value, standard_error, floor, .. } = measurement;
        writer.serialize(Row {
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
        })?;
    }
    Ok(writer.into_inner()?)
}

/// The largest resident memory in a run's history.
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
    use gen_eval::Direction;

    use super::*;

    /// Name and type of each column of evaluation.csv in the data dictionary.
    fn documented() -> Vec<(String, String)> {
        let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
        let rows = reader.records().map(Result::unwrap);
        let rows = rows.filter(|row| &row[0] == "*/evaluation.csv");
        rows.map(|row| (row[1].to_owned(), row[2].to_owned())).collect()
    }

    fn header() -> Vec<String> {
        let text = evaluation_csv(&Evaluation::default()).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_slice());
        reader.headers().unwrap().iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_documented_columns_are_those_of_the_file() {
        let names: Vec<String> = documented().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, header());
    }

    #[test]
    fn the_documented_types_are_those_of_the_file() {
        let columns = header();
        let accepts = |at: usize, value: &str| {
            let mut cells = vec![""; columns.len()];
            cells[at] = value;
            let text = format!("{}\n{}\n", columns.join(","), cells.join(","));
            let row = csv::Reader::from_reader(text.as_bytes()).into_deserialize::<Evaluation>().next();
            row.unwrap().is_ok()
        };
        for (at, (name, kind)) in documented().iter().enumerate() {
            let found = match (accepts(at, "x"), accepts(at, "1.5"), accepts(at, "1")) {
                (true, true, true) => "string",
                (false, true, true) => "Float64",
                (false, false, true) => "Int64",
                (false, false, false) if accepts(at, "true") => "boolean",
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(kind, found, "{name}");
        }
    }

    #[test]
    fn what_does_not_apply_is_empty() {
        let text = String::from_utf8(evaluation_csv(&Evaluation::default()).unwrap()).unwrap();
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
        let text = metrics_csv(&Measured { row, metrics: vec![found] }).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "vae,density,pca-64,k=5,0.5,0.25,,10,20,target,1.0");
        let mut reader = csv::Reader::from_reader(gen_report::COLUMNS.as_bytes());
        let rows = reader.records().map(Result::unwrap).filter(|row| &row[0] == "*/metrics.csv");
        assert_eq!(lines[0], rows.map(|row| row[1].to_owned()).collect::<Vec<_>>().join(","));
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
