//! Run folders for tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A run folder with this `evaluation.csv`.
pub(crate) fn run_folder(experiment: &Path, name: &str, evaluation: Option<&str>) -> PathBuf {
    let folder = experiment.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("log.txt"), "").unwrap();
    if let Some(text) = evaluation {
        fs::write(folder.join("evaluation.csv"), text).unwrap();
    }
    folder
}
