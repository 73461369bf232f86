//! An experiment without the files that only resumed training needs.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::record::RECORD_FILE;
use crate::runs;

/// The files of a run that a report is made of.
const OF_A_RUN: [&str; 7] = [
    "config.toml",
    "evaluation.csv",
    "metrics.csv",
    "history.csv",
    "validation.csv",
    "samples/evaluation.png",
    runs::ERROR_FILE,
];

/// Copies the files that reports are made of into `to`, which must be empty or absent.
///
/// # Errors
///
/// If `to` is not empty, or a file cannot be read or written.
pub fn without_checkpoints(experiment: &Path, to: &Path) -> Result<()> {
    let is_taken = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some());
    if is_taken {
        return Err(Error::NotEmpty { folder: to.to_owned() });
    }
    copy(&experiment.join(RECORD_FILE), &to.join(RECORD_FILE))?;
    for run in runs::read_all(experiment)? {
        for file in OF_A_RUN {
            copy(&run.folder.join(file), &to.join(run.name()).join(file))?;
        }
    }
    Ok(())
}

/// Copies a file that may be absent.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_file() {
        return Ok(());
    }
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).and_then(|()| fs::copy(from, to)).map_err(Error::write(to))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_folder;

    #[test]
    fn checkpoints_and_logs_stay_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let run = run_folder(&from, "vae-digits-s0", Some("model,family\nvae,vae\n"));
        fs::create_dir(run.join("checkpoint")).unwrap();
        fs::write(run.join("checkpoint/weights"), "large").unwrap();
        without_checkpoints(&from, &to).unwrap();
        let copied: Vec<_> =
            fs::read_dir(to.join("vae-digits-s0")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(copied, ["evaluation.csv"]);
        assert!(without_checkpoints(&from, &to).unwrap_err().to_string().contains("is not empty"));
    }
}
