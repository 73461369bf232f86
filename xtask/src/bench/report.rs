//! The times as `bench.csv` and as a table.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;

use super::measure::{Implementation, Row, Task};
use gen_report::Machine;

/// All that was timed in one run.
pub(super) struct Run<'a> {
    pub(super) rows: &'a [Row],
    pub(super) machine: &'a Machine,
    /// Processes that wanted to run in the minute before, where the system tells.
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
    /// One row a case, a task and an implementation.
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
        let said = |name: &str| match &row.description[name] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            value => value.to_string(),
        };
        let difference =
            |name: &str| row.check[name].as_f64().map(|value| format!("{value:.3e}")).unwrap_or_default();
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
            "rows_at_once" if row.task == Task::Sample => row.case.samples.to_string(),
            "rows_at_once" => said("batch_size"),
            "cpu" => self.machine.cpu.clone(),
            "cores" => self.machine.cores.to_string(),
            "load_average" => self.load.map(|load| load.to_string()).unwrap_or_default(),
            "loss_difference" | "gradient_difference" | "weight_difference" => difference(column),
            _ => said(column),
        }
    }

    /// The table, the mean ratios, and what was written where.
    pub(super) fn print(&self, written: &[PathBuf]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        write!(out, "{}", self.table())?;
        for task in Task::ALL {
            for ours in Implementation::OURS {
                if let Some(mean) = geometric_mean(self.ratios_of(task, ours)) {
                    writeln!(
                        out,
                        "{} {}: {mean:.3} times the time of the faster PyTorch in f32 (geometric mean)",
                        ours.name(),
                        task.name()
                    )?;
                }
            }
        }
        for path in written {
            writeln!(out, "{}", path.display())?;
        }
        Ok(())
    }

    fn ratios_of(&self, task: Task, ours: Implementation) -> Vec<f64> {
        let of_task = self.rows.iter().filter(|row| row.task == task && row.implementation == ours);
        of_task.filter_map(|row| ratios(self.rows, row).as_deref().map(median)).collect()
    }

    fn table(&self) -> String {
        let head = [
            "case",
            "task",
            "precision",
            "gen",
            "pytorch-eager",
            "pytorch-compile",
            "ratio",
            "cpu ratio",
            "gradients",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        let ours = self.rows.iter().filter(|row| row.implementation.is_ours());
        for row in ours {
            let ms = |implementation| match peer(self.rows, row, implementation) {
                Some(row) if row.error.is_some() => "failed".to_owned(),
                Some(row) => some(&row.ms).map(|ms| milliseconds(median(ms))).unwrap_or_default(),
                None => String::new(),
            };
            let ratio = ratios(self.rows, row).map_or(String::new(), |ratios| {
                format!("{:.2} ({:.2} to {:.2})", median(&ratios), min(&ratios), max(&ratios))
            });
            let differences = self.rows.iter().filter(|other| other.case.name == row.case.name);
            let largest =
                differences.filter_map(|row| row.check["gradient_difference"].as_f64()).reduce(f64::max);
            lines.push([
                row.case.name.to_owned(),
                row.task.name().to_owned(),
                row.description["precision"].as_str().unwrap_or_default().to_owned(),
                some(&row.ms).map(|ms| milliseconds(median(ms))).unwrap_or_default(),
                ms(Implementation::Eager),
                ms(Implementation::Compiled),
                ratio,
                cpu_ratio(self.rows, row).map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                largest.map(|value| format!("{value:.0e}")).unwrap_or_default(),
            ]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 9] = std::array::from_fn(width);
        let mut text = String::new();
        for line in &lines {
            let cells: Vec<String> = line
                .iter()
                .zip(widths)
                .enumerate()
                .map(
                    |(i, (cell, width))| {
                        if i < 3 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                    },
                )
                .collect();
            text += &format!("{}\n", cells.join("  ").trim_end());
        }
        let failed = self.rows.iter().filter(|row| row.task == Task::Train);
        for row in failed {
            if let Some(error) = &row.error {
                text += &format!("{} {}: {error}\n", row.case.name, row.implementation.name());
            }
        }
        text
    }
}

/// Of the run queue, in the last minute.
pub(super) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The peer with the lower median; `None` of a peer, and where no peer was timed.
fn faster_peer<'r>(rows: &'r [Row], ours: &Row) -> Option<&'r Row> {
    if !ours.implementation.is_ours() {
        return None;
    }
    let peers = [Implementation::Eager, Implementation::Compiled];
    let timed = peers.into_iter().filter_map(|of| peer(rows, ours, of)).filter(|row| !row.ms.is_empty());
    timed.min_by(|a, b| median(&a.ms).total_cmp(&median(&b.ms)))
}

/// The ratio in processor time, which other work on the machine disturbs less.
fn cpu_ratio(rows: &[Row], ours: &Row) -> Option<f64> {
    let faster = faster_peer(rows, ours)?;
    Some(median(some(&ours.cpu_ms)?) / median(some(&faster.cpu_ms)?))
}

/// Our time over that of the faster peer, a round each; `None` of a peer, and where there is no peer.
pub(super) fn ratios(rows: &[Row], ours: &Row) -> Option<Vec<f64>> {
    let faster = faster_peer(rows, ours)?;
    let ratios: Vec<f64> = ours.ms.iter().zip(&faster.ms).map(|(ours, theirs)| ours / theirs).collect();
    (!ratios.is_empty()).then_some(ratios)
}

/// The row of another implementation of the same.
fn peer<'r>(rows: &'r [Row], ours: &Row, implementation: Implementation) -> Option<&'r Row> {
    let same = |row: &&Row| row.case.name == ours.case.name && row.task == ours.task;
    rows.iter().filter(same).find(|row| row.implementation == implementation)
}

fn some(values: &[f64]) -> Option<&[f64]> {
    (!values.is_empty()).then_some(values)
}

/// Of at least one value.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) }
}

pub(super) fn min(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

pub(super) fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn geometric_mean(values: Vec<f64>) -> Option<f64> {
    let n = values.len() as f64;
    (n > 0.0).then(|| (values.iter().map(|value| value.ln()).sum::<f64>() / n).exp())
}

/// A time in as many digits as a measurement has, with its unit.
fn milliseconds(ms: f64) -> String {
    match ms {
        100.0.. => format!("{ms:.0} ms"),
        10.0.. => format!("{ms:.1} ms"),
        0.1.. => format!("{ms:.2} ms"),
        _ => format!("{:.2} µs", 1e3 * ms),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::measure::Case;
    use super::*;

    pub(in super::super) fn rows() -> Vec<Row> {
        let row = |implementation, ms: &[f64]| Row {
            case: Case::new("vae", "vae", "vae", "digits", 10),
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

    fn run<'a>(rows: &'a [Row], machine: &'a Machine) -> Run<'a> {
        Run { rows, machine, load: Some(0.5), rounds: 3 }
    }

    #[test]
    fn a_ratio_is_of_one_round() {
        let rows = rows();
        assert_eq!(ratios(&rows, &rows[0]).unwrap(), [1.5, 2.0, 0.5]);
        assert_eq!(cpu_ratio(&rows, &rows[0]).unwrap(), 1.5);
        assert_eq!(ratios(&rows, &rows[1]), None);
        assert_eq!(ratios(&rows[..1], &rows[0]), None);
        assert_eq!((median(&[1.0, 4.0, 2.0]), median(&[1.0, 2.0])), (2.0, 1.5));
        assert!((geometric_mean(vec![0.5, 2.0]).unwrap() - 1.0).abs() < 1e-12);
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
            (cell(1, "ratio_to_peer_median"), cell(1, "implementation").as_str()),
            (String::new(), "pytorch-eager")
        );
        assert_eq!(
            (cell(2, "status"), cell(2, "error"), cell(2, "ms_min")),
            ("failed".into(), "no compiler".into(), String::new())
        );
        assert_eq!((cell(0, "rows_at_once"), cell(0, "threads")), ("128".into(), "2".into()));
    }

    #[test]
    fn the_table_has_a_line_a_case_and_the_reasons_of_failures() {
        let (rows, machine) = (rows(), Machine::this());
        let table = run(&rows, &machine).table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[1].contains("1.50 (0.50 to 2.00)") && lines[1].contains("failed"), "{table}");
        assert_eq!(lines[2], "vae pytorch-compile: no compiler");
    }

    #[test]
    fn the_columns_are_those_of_the_dictionary() {
        assert_eq!(COLUMNS.to_vec(), super::super::described("bench.csv"));
    }
}
