use std::fs::OpenOptions;
use std::path::Path;

use gen_core::train::{LogRecord, ValidationRecord};
use gen_core::{Error, Result};

use crate::files::{self, write_atomically};

/// The columns before the losses.
const COLUMNS: [&str; 7] =
    ["step", "images_seen", "seconds", "cpu_seconds", "images_per_second", "lr_scale", "rss_mib"];

/// The columns of `validation.csv`.
const VALIDATION_COLUMNS: [&str; 7] =
    ["step", "images_seen", "seconds", "validation_seconds", "objective", "n_validation", "loss"];

pub(super) fn append(path: &Path, record: &LogRecord) -> Result<()> {
    let losses = record.losses.iter().map(|(name, _)| format!("loss_{name}"));
    let header = COLUMNS.iter().map(|name| (*name).to_owned()).chain(losses).collect();
    let progress = record.progress;
    let mut row = vec![
        progress.step.to_string(),
        progress.images_seen.to_string(),
        format!("{:.3}", progress.seconds),
        format!("{:.3}", progress.cpu_seconds),
        format!("{:.1}", record.images_per_second),
        record.lr_scale.to_string(),
        record.rss_mib.map(|mib| format!("{mib:.1}")).unwrap_or_default(),
    ];
    row.extend(record.losses.iter().map(|(_, value)| value.to_string()));
    append_row(path, header, row)
}

pub(super) fn append_validation(path: &Path, record: &ValidationRecord) -> Result<()> {
    let row = vec![
        record.progress.step.to_string(),
        record.progress.images_seen.to_string(),
        format!("{:.3}", record.progress.seconds),
        format!("{:.3}", record.seconds),
        record.objective.clone(),
        record.rows.to_string(),
        record.loss.to_string(),
    ];
    append_row(path, VALIDATION_COLUMNS.map(str::to_owned).into(), row)
}

fn append_row(path: &Path, header: Vec<String>, row: Vec<String>) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path))?;
    let fresh = file.metadata().map_err(Error::io(path))?.len() == 0;
    let mut writer = csv::Writer::from_writer(file);
    for cells in fresh.then_some(header).into_iter().chain([row]) {
        writer.write_record(cells).map_err(Error::file(path))?;
    }
    writer.flush().map_err(Error::io(path))
}

/// Waits until the rows are on the disk: a checkpoint must not outlive the rows before it.
pub(super) fn sync(path: &Path) -> Result<()> {
    if path.exists() { files::sync(path) } else { Ok(()) }
}

/// Keeps the rows up to `step`. A power failure can leave a part of a row, or zeros in its place; both are dropped.
pub(super) fn rewind(path: &Path, step: u64) -> Result<()> {
    rewind_rows(path, &COLUMNS, step)
}

/// As [`rewind`], of `validation.csv`.
pub(super) fn rewind_validation(path: &Path, step: u64) -> Result<()> {
    rewind_rows(path, &VALIDATION_COLUMNS, step)
}

fn rewind_rows(path: &Path, columns: &[&str], step: u64) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.split_inclusive('\n');
    let is_header = |line: &&str| line.starts_with(&columns.join(",")) && line.ends_with('\n');
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewinding_keeps_whole_rows_up_to_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.csv");
        let header = format!("{},loss_a\n", COLUMNS.join(","));
        let row = |step: u64| format!("{step},{},0.5,0.5,1.0,1,,0.25\n", 16 * step);
        let rewound = |text: &str| {
            std::fs::write(&path, text).unwrap();
            rewind(&path, 20).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let whole = header.clone() + &row(10) + &row(20);
        assert_eq!(rewound(&whole), whole);
        assert_eq!(rewound(&(whole.clone() + &row(30))), whole);
        // The next row in every state of being written: `3` alone could be a step before.
        let next = row(30);
        for length in 0..next.len() {
            assert_eq!(rewound(&(whole.clone() + &next[..length])), whole);
        }
        assert_eq!(rewound(&(whole.clone() + &"\0".repeat(40))), whole);
        // Without its header no row means anything; the next one brings a new header.
        for length in 0..header.len() {
            assert_eq!(rewound(&header[..length]), "");
        }
        assert_eq!(rewound(&(row(10) + &row(20))), "");
    }
}
