//! The printed tables of times.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use gen_report::aligned;

use super::cases::{Against, Implementation, Task};
use super::measure::Row;
use super::report::{Run, cpu_ratio, peer, ratios, rows_at_once, said, some};
use crate::statistics::{geometric_mean, max, median, min};

impl Run<'_> {
    /// Prints the table, the mean ratios, and the paths of the files.
    pub(super) fn print(&self, written: &[PathBuf]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        write!(out, "{}{}", self.table(), self.failures())?;
        let whom = match self.against {
            Against::PyTorch => "faster PyTorch in f32",
            Against::Libraries => "fastest of the others",
            Against::Build => "other build",
        };
        for task in Task::NAMES {
            for ours in Implementation::OURS {
                if let Some(mean) = geometric_mean(&self.ratios_of(task, ours)) {
                    let ours = ours.name();
                    writeln!(out, "{ours} {task}: {mean:.3} times the time of the {whom} (geometric mean)")?;
                }
            }
        }
        for path in written {
            writeln!(out, "{}", path.display())?;
        }
        Ok(())
    }

    fn ratios_of(&self, task: &str, ours: Implementation) -> Vec<f64> {
        let of_task = self.rows.iter().filter(|row| row.task.name() == task && row.implementation == ours);
        of_task.filter_map(|row| ratios(self.rows, row).as_deref().map(median)).collect()
    }

    fn table(&self) -> String {
        match self.against {
            Against::PyTorch => self.ours_by_line(),
            Against::Libraries | Against::Build => self.all_by_line(),
        }
    }

    /// A line for each row of ours, with both peers.
    fn ours_by_line(&self) -> String {
        let mut lines = vec![
            ["case", "task", "precision", "gen", "pytorch-eager", "pytorch-compile", "ratio", "cpu ratio", "gradients"]
                .map(str::to_owned),
        ];
        for row in self.rows.iter().filter(|row| row.implementation.is_ours()) {
            let other = |implementation| peer(self.rows, row, implementation).map(time).unwrap_or_default();
            let of_case = self.rows.iter().filter(|other| other.case.name == row.case.name);
            let largest = of_case.filter_map(|row| row.check["gradient_difference"].as_f64()).reduce(f64::max);
            lines.push([
                row.case.name.to_owned(),
                row.task.name().to_owned(),
                said(row, "precision"),
                some(&row.ms).map(|ms| milliseconds(median(ms))).unwrap_or_default(),
                other(Implementation::Eager),
                other(Implementation::Compiled),
                self.ratio(row),
                self.cpu_ratio(row),
                largest.map(|value| format!("{value:.0e}")).unwrap_or_default(),
            ]);
        }
        aligned(lines, |column| column >= 3)
    }

    /// A line for each implementation, since a column for each would be too wide. The ratios divide gen's time by that
    /// of the line.
    fn all_by_line(&self) -> String {
        let head =
            ["case", "task", "implementation", "version", "rows", "parameters", "time", "gen's / its", "in cpu time"];
        let mut lines = vec![head.map(str::to_owned)];
        for row in self.rows {
            let of_others = |ratio: String| if row.implementation.is_ours() { String::new() } else { ratio };
            lines.push([
                row.case.name.to_owned(),
                row.task.name().to_owned(),
                row.implementation.name().to_owned(),
                said(row, "version"),
                rows_at_once(row),
                said(row, "parameters"),
                time(row),
                of_others(self.ratio(row)),
                of_others(self.cpu_ratio(row)),
            ]);
        }
        aligned(lines, |column| column >= 4)
    }

    fn ratio(&self, row: &Row) -> String {
        ratios(self.rows, row).map_or(String::new(), |ratios| {
            format!("{:.2} ({:.2} to {:.2})", median(&ratios), min(&ratios), max(&ratios))
        })
    }

    fn cpu_ratio(&self, row: &Row) -> String {
        cpu_ratio(self.rows, row).map(|ratio| format!("{ratio:.2}")).unwrap_or_default()
    }

    /// The reasons of failures, one for each case and implementation.
    fn failures(&self) -> String {
        let mut told: Vec<String> = Vec::new();
        for row in self.rows {
            if let Some(error) = &row.error {
                let line = format!("{} {}: {error}\n", row.case.name, row.implementation.name());
                if !told.contains(&line) {
                    told.push(line);
                }
            }
        }
        told.concat()
    }
}

/// The median time, or `failed`.
fn time(row: &Row) -> String {
    match &row.error {
        Some(_) => "failed".to_owned(),
        None => some(&row.ms).map(|ms| milliseconds(median(ms))).unwrap_or_default(),
    }
}

/// A time with three significant digits and its unit.
fn milliseconds(ms: f64) -> String {
    match ms {
        100.0.. => format!("{ms:.0} ms"),
        10.0.. => format!("{ms:.1} ms"),
        0.1.. => format!("{ms:.2} ms"),
        _ => format!("{:.2} µs", 1e3 * ms),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{libraries, rows, run};
    use super::*;
    use gen_report::Machine;

    #[test]
    fn the_table_has_a_line_a_case_and_the_reasons_of_failures() {
        let (rows, machine) = (rows(), Machine::this());
        let run = run(&rows, &machine);
        let table = run.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2, "{table}");
        assert!(lines[1].contains("1.50 (0.50 to 2.00)") && lines[1].contains("failed"), "{table}");
        assert_eq!(run.failures(), "vae pytorch-compile: no compiler\n");
    }

    #[test]
    fn against_libraries_everyone_has_a_line() {
        let (rows, machine) = (libraries(), Machine::this());
        let run = run(&rows, &machine);
        let table = run.table();
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["nsf", "sample", "gen", "some", "1.2", "256", "46264", "4.00", "ms"]);
        assert_eq!(words[3][8..], ["ms", "0.50", "(0.50", "to", "0.50)", "0.50"]);
        assert_eq!(words[4], ["nsf", "sample", "nflows", "256", "failed"]);
        assert_eq!(run.failures(), "nsf nflows: no module named nflows\n");
        assert_eq!(run.ratios_of("sample", Implementation::Gen), [0.8]);
    }
}
