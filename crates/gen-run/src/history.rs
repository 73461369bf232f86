use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use gen_core::train::{LogRecord, ValidationRecord};
use gen_core::{Error, Result};

use crate::files::{self, write_atomically};

/// The columns of `history.csv` before the losses.
const TRAINING: [&str; 7] =
    ["step", "images_seen", "seconds", "cpu_seconds", "images_per_second", "lr_scale", "rss_mib"];

/// The columns of `validation.csv`.
const VALIDATION: [&str; 7] =
    ["step", "images_seen", "seconds", "validation_seconds", "objective", "n_validation", "loss"];

/// A CSV file that grows by a row at a time. Its first column is the step.
pub(crate) struct History {
    path: PathBuf,
    columns: [&'static str; 7],
}

impl History {
    /// `history.csv` of the run in `folder`.
    pub(crate) fn training(folder: &Path) -> Self {
        History { path: folder.join("history.csv"), columns: TRAINING }
    }

    /// `validation.csv` of the run in `folder`.
    pub(crate) fn validation(folder: &Path) -> Self {
        History { path: folder.join("validation.csv"), columns: VALIDATION }
    }

    /// Adds a row to `history.csv`.
    pub(crate) fn append(&self, record: &LogRecord) -> Result<()> {
        let progress = record.progress;
        let cells = [
            progress.step.to_string(),
            progress.images_seen.to_string(),
            format!("{:.3}", progress.seconds),
            format!("{:.3}", progress.cpu_seconds),
            format!("{:.1}", record.images_per_second),
            record.lr_scale.to_string(),
            record.rss_mib.map(|mib| format!("{mib:.1}")).unwrap_or_default(),
        ];
        self.append_row(cells, &record.names, &record.losses)
    }

    /// Adds a row to `validation.csv`.
    pub(crate) fn append_validation(&self, record: &ValidationRecord) -> Result<()> {
        let cells = [
            record.progress.step.to_string(),
            record.progress.images_seen.to_string(),
            format!("{:.3}", record.progress.seconds),
            format!("{:.3}", record.seconds),
            record.objective.clone(),
            record.rows.to_string(),
            record.loss.to_string(),
        ];
        self.append_row(cells, &[], &[])
    }

    fn append_row(&self, cells: [String; 7], names: &[&str], losses: &[(&str, f64)]) -> Result<()> {
        let path = &self.path;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path))?;
        let is_new = file.metadata().map_err(Error::io(path))?.len() == 0;
        let mut writer = csv::Writer::from_writer(file);
        let mut write = |row: Vec<String>| writer.write_record(row).map_err(Error::file(path));
        if is_new {
            let names = names.iter().map(|name| format!("loss_{name}"));
            write(self.columns.map(str::to_owned).into_iter().chain(names).collect())?;
        }
        // The cell of a loss that no step computed is empty.
        let loss = |name: &&str| {
            let found = losses.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_string()).unwrap_or_default()
        };
        write(cells.into_iter().chain(names.iter().map(loss)).collect())?;
        writer.flush().map_err(Error::io(path))
    }

    /// Waits until the rows are on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        if self.path.exists() { files::sync(&self.path) } else { Ok(()) }
    }

    /// Removes the file, if it exists.
    pub(crate) fn remove(&self) -> Result<()> {
        files::remove(&self.path)
    }

    /// Keeps the rows up to `step`. A power failure can leave a part of a row, or zeros in its place; both are removed.
    pub(crate) fn rewind(&self, step: u64) -> Result<()> {
        let path = &self.path;
        if !path.exists() {
            return Ok(());
        }
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.split_inclusive('\n');
        let is_header = |line: &&str| line.starts_with(&self.columns.join(",")) && line.ends_with('\n');
        let header = lines.next().filter(is_header).unwrap_or_default();
        let cells = |line: &str| line.split(',').count();
        let is_kept = |line: &&str| {
            let at = line.split(',').next().and_then(|first| first.parse::<u64>().ok());
            at.is_some_and(|at| at <= step) && cells(line) == cells(header) && line.ends_with('\n')
        };
        let kept: String = std::iter::once(header).chain(lines.filter(is_kept)).collect();
        if kept.as_bytes() == bytes {
            return Ok(());
        }
        write_atomically(path, |temporary| std::fs::write(temporary, &kept).map_err(Error::io(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewinding_keeps_whole_rows_up_to_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::training(folder.path());
        let header = format!("{},loss_a\n", TRAINING.join(","));
        let row = |step: u64| format!("{step},{},0.5,0.5,1.0,1,,0.25\n", 16 * step);
        let rewound = |text: &str| {
            std::fs::write(&history.path, text).unwrap();
            history.rewind(20).unwrap();
            std::fs::read_to_string(&history.path).unwrap()
        };
        let whole = header.clone() + &row(10) + &row(20);
        assert_eq!(rewound(&whole), whole);
        assert_eq!(rewound(&(whole.clone() + &row(30))), whole);
        // The next row, cut off at any place: `3` alone could be an earlier step.
        let next = row(30);
        for length in 0..next.len() {
            assert_eq!(rewound(&(whole.clone() + &next[..length])), whole);
        }
        assert_eq!(rewound(&(whole.clone() + &"\0".repeat(40))), whole);
        // Rows without a header are meaningless; the next row writes a new header.
        for length in 0..header.len() {
            assert_eq!(rewound(&header[..length]), "");
        }
        assert_eq!(rewound(&(row(10) + &row(20))), "");
    }
}
