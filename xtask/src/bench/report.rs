//! The times as `bench.csv`, and ratios of them.

use std::fs;

use anyhow::Result;
use gen_report::Machine;

use super::cases::{Against, Implementation, Task};
use super::measure::Row;
use crate::statistics::{self, max, median, min};

/// All that was timed in one run.
pub(super) struct Run<'a> {
    pub(super) rows: &'a [Row],
    pub(super) against: Against,
    pub(super) machine: &'a Machine,
    /// The load average of the minute before; `None` if the system does not report it.
    pub(super) load: Option<f64>,
    pub(super) rounds: u32,
}

/// Described in the data dictionary, `gen_report::COLUMNS`.
pub(super) const COLUMNS: [&str; 30] = [
    "case",
    "model",
    "family",
    "dataset",
    "settings",
    "task",
    "implementation",
    "status",
    "error",
    "rounds",
    "ms_median",
    "ms_min",
    "ms_max",
    "cpu_ms_median",
    "ratio_to_peer_median",
    "ratio_to_peer_min",
    "ratio_to_peer_max",
    "cpu_ratio_to_peer_median",
    "rows_at_once",
    "parameters",
    "loss_difference",
    "gradient_difference",
    "weight_difference",
    "precision",
    "threads",
    "cpu",
    "cores",
    "load_average",
    "version",
    "torch_version",
];

impl Run<'_> {
    /// A row for each case, task and implementation.
    pub(super) fn csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS)?;
        for row in self.rows {
            writer.write_record(COLUMNS.map(|column| self.cell(row, column)))?;
        }
        Ok(writer.into_inner()?)
    }

    fn cell(&self, row: &Row, column: &str) -> String {
        let number = |value: Option<f64>| value.map(|value| format!("{value:.6}")).unwrap_or_default();
        let ratio = |of: fn(&[f64]) -> f64| number(ratios(self.rows, row).as_deref().map(of));
        let said = |name: &str| said(row, name);
        let difference = |name: &str| row.check[name].as_f64().map(|value| format!("{value:.3e}")).unwrap_or_default();
        match column {
            "case" => row.case.name.to_owned(),
            "model" => row.case.model.to_owned(),
            "family" => row.case.family.to_owned(),
            "dataset" => row.case.data.to_owned(),
            "settings" => row.case.set.join(" "),
            "task" => row.task.name().to_owned(),
            "implementation" => row.implementation.name().to_owned(),
            "status" => if row.error.is_none() { "done" } else { "failed" }.to_owned(),
            "error" => row.error.clone().unwrap_or_default(),
            "rounds" => self.rounds.to_string(),
            "ms_median" => number(some(&row.ms).map(median)),
            "ms_min" => number(some(&row.ms).map(min)),
            "ms_max" => number(some(&row.ms).map(max)),
            "cpu_ms_median" => number(some(&row.cpu_ms).map(median)),
            "cpu_ratio_to_peer_median" => number(cpu_ratio(self.rows, row)),
            "ratio_to_peer_median" => ratio(median),
            "ratio_to_peer_min" => ratio(min),
            "ratio_to_peer_max" => ratio(max),
            "rows_at_once" => rows_at_once(row),
            "cpu" => self.machine.cpu.clone(),
            "cores" => self.machine.cores.to_string(),
            "load_average" => self.load.map(|load| load.to_string()).unwrap_or_default(),
            "loss_difference" | "gradient_difference" | "weight_difference" => difference(column),
            _ => said(column),
        }
    }
}

/// The load average of the last minute.
pub(super) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// A value in the description that the worker printed.
pub(super) fn said(row: &Row, name: &str) -> String {
    match &row.description[name] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        value => value.to_string(),
    }
}

/// Rows in a training batch, or samples drawn at once.
pub(super) fn rows_at_once(row: &Row) -> String {
    match row.task {
        Task::Train => said(row, "batch_size"),
        Task::Sample(n) => n.to_string(),
    }
}

/// The numerator and the denominator of the ratio in `row`. For a row of ours the denominator is the peer with the
/// lowest median; for a row of a peer the numerator is `gen` in single precision.
fn compared<'r>(rows: &'r [Row], row: &'r Row) -> Option<(&'r Row, &'r Row)> {
    if !row.implementation.is_ours() {
        return Some((peer(rows, row, Implementation::Gen)?, row));
    }
    let peers = row.case.implementations.iter().filter(|implementation| !implementation.is_ours());
    let timed = peers.filter_map(|of| peer(rows, row, *of)).filter(|row| !row.ms.is_empty());
    Some((row, timed.min_by(|a, b| median(&a.ms).total_cmp(&median(&b.ms)))?))
}

/// The ratio in processor time, which other work on the machine disturbs less.
pub(super) fn cpu_ratio(rows: &[Row], row: &Row) -> Option<f64> {
    let (ours, theirs) = compared(rows, row)?;
    Some(median(some(&ours.cpu_ms)?) / median(some(&theirs.cpu_ms)?))
}

/// Our time divided by that of the other, a ratio for each round, as [`compared`] pairs them; `None` if one of the two
/// was not timed.
pub(super) fn ratios(rows: &[Row], row: &Row) -> Option<Vec<f64>> {
    let (ours, theirs) = compared(rows, row)?;
    let ratios = statistics::ratios(&ours.ms, &theirs.ms);
    (!ratios.is_empty()).then_some(ratios)
}

/// The row of another implementation at the same case and task.
pub(super) fn peer<'r>(rows: &'r [Row], row: &Row, implementation: Implementation) -> Option<&'r Row> {
    let same = |other: &&Row| other.case.name == row.case.name && other.task == row.task;
    rows.iter().filter(same).find(|other| other.implementation == implementation)
}

/// `None` if there are no values.
pub(super) fn some(values: &[f64]) -> Option<&[f64]> {
    (!values.is_empty()).then_some(values)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::cases::Case;
    use super::*;

    pub(in super::super) fn rows() -> Vec<Row> {
        let row = |implementation, ms: &[f64]| Row {
            case: Case::new("vae", "vae", "vae", "digits", &[10]),
            task: Task::Train,
            implementation,
            description: json!({ "parameters": 7, "batch_size": 128, "threads": 2, "torch_version": "2.13.0" }),
            check: json!({ "gradient_difference": 1.5e-6 }),
            error: None,
            ms: ms.to_vec(),
            cpu_ms: ms.iter().map(|ms| 2.0 * ms).collect(),
        };
        let failed = Row { error: Some("no compiler".to_owned()), ..row(Implementation::Compiled, &[]) };
        vec![row(Implementation::Gen, &[3.0, 4.0, 2.0]), row(Implementation::Eager, &[2.0, 2.0, 4.0]), failed]
    }

    /// Samples of a flow: gen takes half the time of zuko and 0.5 to 1 times that of plain PyTorch; nflows failed.
    pub(in super::super) fn libraries() -> Vec<Row> {
        use Implementation::{Eager, Gen, Nflows, Zuko};
        let implementations: &[Implementation] = &[Gen, Eager, Zuko, Nflows];
        let case = Case { implementations, ..Case::new("nsf", "nsf", "flow", "moons", &[256, 10_000]) };
        let row = |implementation, ms: &[f64]| Row {
            case,
            task: Task::Sample(256),
            implementation,
            description: json!({ "parameters": 46_264, "batch_size": 256, "version": "some 1.2" }),
            check: json!(null),
            error: None,
            ms: ms.to_vec(),
            cpu_ms: ms.to_vec(),
        };
        let failed =
            Row { error: Some("no module named nflows".to_owned()), description: json!(null), ..row(Nflows, &[]) };
        let timed = [row(Gen, &[4.0, 4.0, 4.0]), row(Eager, &[4.0, 5.0, 8.0]), row(Zuko, &[8.0, 8.0, 8.0])];
        timed.into_iter().chain([failed]).collect()
    }

    pub(in super::super) fn run<'a>(rows: &'a [Row], machine: &'a Machine) -> Run<'a> {
        let against = if rows.len() == 4 { Against::Libraries } else { Against::PyTorch };
        Run { rows, against, machine, load: Some(0.5), rounds: 3 }
    }

    #[test]
    fn a_ratio_is_of_one_round() {
        let rows = rows();
        assert_eq!(ratios(&rows, &rows[0]).unwrap(), [1.5, 2.0, 0.5]);
        assert_eq!(cpu_ratio(&rows, &rows[0]).unwrap(), 1.5);
        assert_eq!(ratios(&rows[..1], &rows[0]), None);
    }

    #[test]
    fn ours_is_held_against_the_fastest_and_each_peer_against_ours() {
        let rows = libraries();
        let medians: Vec<_> = rows.iter().map(|row| ratios(&rows, row).as_deref().map(median)).collect();
        assert_eq!(medians, [Some(0.8), Some(0.8), Some(0.5), None]);
        assert_eq!(cpu_ratio(&rows, &rows[2]), Some(0.5));
        assert_eq!(rows_at_once(&rows[2]), "256");
    }

    #[test]
    fn every_row_has_every_column() {
        let (rows, machine) = (rows(), Machine::this());
        let text = String::from_utf8(run(&rows, &machine).csv().unwrap()).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        let cell = |row: usize, column: &str| {
            let index = COLUMNS.iter().position(|known| *known == column).unwrap();
            records[row].get(index).unwrap().to_owned()
        };
        assert_eq!(cell(0, "ms_median"), "3.000000");
        assert_eq!(cell(0, "ratio_to_peer_median"), "1.500000");
        assert_eq!(
            (cell(1, "ratio_to_peer_median"), cell(1, "implementation")),
            ("1.500000".into(), "pytorch-eager".into())
        );
        assert_eq!(
            (cell(2, "status"), cell(2, "error"), cell(2, "ms_min"), cell(2, "ratio_to_peer_median")),
            ("failed".into(), "no compiler".into(), String::new(), String::new())
        );
        assert_eq!((cell(0, "rows_at_once"), cell(0, "threads")), ("128".into(), "2".into()));
    }

    #[test]
    fn the_columns_are_those_of_the_dictionary() {
        assert_eq!(COLUMNS.to_vec(), super::super::described("bench.csv"));
    }
}
