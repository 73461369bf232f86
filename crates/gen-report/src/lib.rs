//! Tables, figures and one page from what runs leave in their folders.
//!
//! [`build`] reads the run folders of an experiment and writes beside them what people compare them by. Nothing here
//! links libtorch or shares a type with what wrote the files: every file is taken as it may be, cut off, edited, of
//! another version.

mod columns;
mod copy;
mod csv_file;
mod curves;
mod error;
mod html;
mod record;
mod runs;
mod scatter;
mod summary;
pub mod svg;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

pub use copy::without_checkpoints;
pub use error::{Error, Result};
pub use record::{Machine, RECORD_FILE, Record, write_atomically};
pub use runs::{ERROR_FILE, REFERENCE_PREFIX, Run, Status, Values, evaluation, read_all};

/// What was written.
#[derive(Debug)]
pub struct Built {
    /// The runs, in the order of tables.
    pub runs: Vec<Run>,
    /// Where the files are.
    pub folder: PathBuf,
}

/// Writes `summary.csv`, `summary.md`, the figures and `report.html` of an experiment.
///
/// # Errors
///
/// If the folder has no runs, or a file cannot be written.
pub fn build(folder: &Path) -> Result<Built> {
    let runs = read_all(folder)?;
    if runs.is_empty() {
        return Err(Error::NoRuns { folder: folder.to_owned() });
    }
    // A record that cannot be read costs the report a line, no more.
    let record = Record::read(folder);
    let (panels, mut notes) = curves::read(&runs);
    if let Err(error) = &record {
        notes.push(error.to_string());
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
    fs::create_dir_all(&figures).map_err(Error::write(&figures))?;
    if let Some(scatter) = &scatter {
        write_atomically(&figures.join("quality-speed.svg"), scatter.file().as_bytes())?;
    }
    if let Some(curves) = curves::file(&panels) {
        write_atomically(&figures.join("training-curves.svg"), curves.as_bytes())?;
    }
    write_atomically(&folder.join("summary.csv"), summary::csv(&runs).as_bytes())?;
    write_atomically(&folder.join("summary.md"), summary::markdown(&runs).as_bytes())?;
    write_atomically(&folder.join("report.html"), page.as_bytes())?;
    Ok(Built { runs, folder: folder.to_owned() })
}

impl Built {
    /// The table, and where the report is.
    pub fn text(&self) -> String {
        let files = ["summary.csv", "report.html"].map(|file| self.folder.join(file).display().to_string());
        format!("{}\n{}\n", summary::plain(&self.runs), files.join("\n"))
    }
}

/// `summary.md` of these runs: the table that a README shows.
pub fn markdown(runs: &[Run]) -> String {
    summary::markdown(runs)
}

#[cfg(test)]
mod tests {
    use super::runs::tests::run_folder;
    use super::*;

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
    fn an_experiment_without_runs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(build(folder.path()).err().unwrap().to_string().contains("has no runs"));
    }
}
