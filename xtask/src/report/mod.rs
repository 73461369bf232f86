//! `cargo xtask report`: the summary and the report of an experiment.

mod columns;
mod copy;
mod curves;
mod html;
pub(crate) mod runs;
mod scatter;
mod summary;
pub(crate) mod svg;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::experiment::{self, Record, write_atomically};
use runs::Run;

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
        copy::without_checkpoints(&folder, copy)?;
        folder.clone_from(copy);
    }
    build(&folder)?.print()
}

/// The folder of an experiment: by name, or as a path that the shell completed.
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
    let there =
        if there.is_empty() { "it is empty".to_owned() } else { format!("it has {}", there.join(", ")) };
    bail!("there is no experiment `{experiment}` in {}: {there}", results.display())
}

/// What was written.
pub(crate) struct Built {
    pub(crate) runs: Vec<Run>,
    folder: PathBuf,
}

/// Writes `summary.csv`, `summary.md`, the figures and `report.html` of an experiment.
pub(crate) fn build(folder: &Path) -> Result<Built> {
    let runs = runs::read_all(folder)?;
    if runs.is_empty() {
        bail!("{} has no runs: `cargo xtask train-all` makes some", folder.display());
    }
    // A record that cannot be read costs the report a line, no more.
    let record = Record::read(folder);
    let (panels, mut notes) = curves::read(&runs);
    if let Err(error) = &record {
        notes.push(format!("{error:#}"));
    }
    let record = record.unwrap_or_default();
    let scatter = scatter::Scatter::of(&runs);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let page = html::page(&html::Report {
        name: &name,
        record: record.as_ref(),
        runs: &runs,
        panels: &panels,
        scatter: scatter.as_ref(),
        notes: &notes,
    });
    let figures = folder.join("figures");
    fs::create_dir_all(&figures).with_context(|| format!("cannot write {}", figures.display()))?;
    if let Some(scatter) = &scatter {
        write_atomically(&figures.join("quality-speed.svg"), scatter.file().as_bytes())?;
    }
    if let Some(curves) = curves::file(&panels) {
        write_atomically(&figures.join("training-curves.svg"), curves.as_bytes())?;
    }
    write_atomically(&folder.join("summary.csv"), &summary::csv(&runs)?)?;
    write_atomically(&folder.join("summary.md"), summary::markdown(&runs).as_bytes())?;
    write_atomically(&folder.join("report.html"), page.as_bytes())?;
    Ok(Built { runs, folder: folder.to_owned() })
}

impl Built {
    /// The table, and where the report is.
    pub(crate) fn print(&self) -> Result<()> {
        use std::io::Write;

        let mut out = std::io::stdout().lock();
        write!(out, "{}", summary::plain(&self.runs))?;
        writeln!(out, "\n{}", self.folder.join("summary.csv").display())?;
        writeln!(out, "{}", self.folder.join("report.html").display())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::runs::tests::run_folder;
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
    fn all_files_are_written_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let row = "family,model,fd,sample_images_per_second\nvae,vae,3.5,100\n";
        let run = run_folder(folder.path(), "vae-digits-s0", Some(row));
        fs::write(run.join("history.csv"), "seconds,loss_elbo\n1,2\n2,1\n").unwrap();
        fs::write(folder.path().join("experiment.toml"), "broken").unwrap();
        build(folder.path()).unwrap();
        let names = |path: &Path| {
            let mut names: Vec<String> =
                fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(
            names(folder.path()),
            ["experiment.toml", "figures", "report.html", "summary.csv", "summary.md", "vae-digits-s0"]
        );
        assert_eq!(names(&folder.path().join("figures")), ["quality-speed.svg", "training-curves.svg"]);
        assert!(
            fs::read_to_string(folder.path().join("report.html"))
                .unwrap()
                .contains("experiment.toml cannot be read")
        );
    }

    #[test]
    fn the_readme_shows_the_table_of_the_reference() {
        let reference = experiment::results().join("reference");
        let table = summary::markdown(&runs::read_all(&reference).unwrap());
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
