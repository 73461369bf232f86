//! `cargo xtask report`: the summary and the report of an experiment.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use gen_report::{Built, Error};

use crate::experiment;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The experiment: a folder in results
    experiment: String,

    /// Copy the experiment there without checkpoints and logs, to keep or to share, and report on the copy
    #[arg(long, value_name = "FOLDER")]
    copy_to: Option<PathBuf>,

    #[arg(long, hide = true)]
    results: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let results = args.results.clone().unwrap_or_else(experiment::results);
    let mut folder = find(&results, &args.experiment)?;
    if let Some(copy) = &args.copy_to {
        gen_report::without_checkpoints(&folder, copy)?;
        folder.clone_from(copy);
    }
    print(&build(&folder)?)
}

/// The folder of an experiment, given by name or as a path that the shell completed.
fn find(results: &Path, experiment: &str) -> Result<PathBuf> {
    let as_path = PathBuf::from(experiment);
    if experiment.contains(std::path::MAIN_SEPARATOR) && as_path.is_dir() {
        return Ok(as_path);
    }
    let folder = results.join(experiment);
    if experiment::check_name(experiment).is_ok() && folder.is_dir() {
        return Ok(folder);
    }
    let mut there: Vec<String> = fs::read_dir(results)
        .map(|entries| {
            let folders = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
            folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    there.sort();
    let there = if there.is_empty() { "it is empty".to_owned() } else { format!("it has {}", there.join(", ")) };
    bail!("there is no experiment `{experiment}` in {}: {there}", results.display())
}

/// Writes the files of a report with [`gen_report::build`]; its error says how to make runs.
pub(crate) fn build(folder: &Path) -> Result<Built> {
    gen_report::build(folder).map_err(|error| match error {
        Error::NoRuns { .. } => anyhow!("{error}: `cargo xtask train-all` makes some"),
        error => error.into(),
    })
}

/// Prints the table and the path of the report.
pub(crate) fn print(built: &Built) -> Result<()> {
    std::io::stdout().lock().write_all(built.text().as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experiment_is_found_by_name_or_path_and_a_wrong_name_lists_what_is_there() {
        let results = tempfile::tempdir().unwrap();
        fs::create_dir(results.path().join("digits-20s")).unwrap();
        let folder = find(results.path(), "digits-20s").unwrap();
        assert_eq!(find(results.path(), folder.to_str().unwrap()).unwrap(), folder);
        let error = find(results.path(), "moons").unwrap_err().to_string();
        assert!(error.contains("no experiment `moons`") && error.contains("it has digits-20s"), "{error}");
        assert!(find(results.path(), "..").is_err());
    }

    #[test]
    fn the_readme_shows_the_table_of_the_reference() {
        let reference = experiment::results().join("reference");
        let table = gen_report::markdown(&gen_report::read_all(&reference).unwrap());
        assert_eq!(table, fs::read_to_string(reference.join("summary.md")).unwrap());
        let readme = fs::read_to_string(crate::workspace::root().join("README.md")).unwrap();
        assert!(readme.contains(&table), "{table}");
    }

    #[test]
    fn an_experiment_without_runs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(build(folder.path()).err().unwrap().to_string().contains("has no runs"));
    }
}
