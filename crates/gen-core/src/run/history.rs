use std::fs::OpenOptions;
use std::path::Path;

use super::write_atomically;
use crate::error::{Error, Result};
use crate::train::LogRecord;

/// The columns before the losses.
const COLUMNS: [&str; 7] =
    ["step", "images_seen", "seconds", "cpu_seconds", "images_per_second", "lr_scale", "rss_mib"];

pub(super) fn append(path: &Path, record: &LogRecord) -> Result<()> {
    let fresh = !path.exists();
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path))?;
    let mut writer = csv::Writer::from_writer(file);
    let mut write =
        |row: Vec<String>| writer.write_record(row).map_err(|error| Error::format(path, error.to_string()));
    if fresh {
        let losses = record.losses.iter().map(|(name, _)| format!("loss_{name}"));
        write(COLUMNS.iter().map(|name| (*name).to_owned()).chain(losses).collect())?;
    }
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
    write(row)?;
    writer.flush().map_err(Error::io(path))
}

pub(super) fn rewind(path: &Path, step: u64) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let is_past = |line: &&str| {
        let first = line.split(',').next().unwrap_or_default();
        first.parse::<u64>().map_or(first != COLUMNS[0], |at| at > step)
    };
    let kept: String = text.lines().filter(|line| !is_past(line)).flat_map(|line| [line, "\n"]).collect();
    write_atomically(path, |temporary| std::fs::write(temporary, &kept).map_err(Error::io(temporary)))
}
