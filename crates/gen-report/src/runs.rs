//! The runs of an experiment, read from their folders.
//!
//! Files may be truncated, edited or of another version.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{self, REFERENCE};
use crate::error::{Error, Result};
use crate::evaluation::{self, Values, evaluation};
use crate::metric::{self, Metric};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It was trained and measured.
    Done,
    /// Why there is no evaluation.
    Failed(String),
}

/// A run, or a reference row.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// How it ended.
    pub status: Status,
    values: Values,
    /// Hyperparameters, training settings and options of the data, by dotted name; `None` without a `config.toml`.
    pub(crate) settings: Option<BTreeMap<String, String>>,
    /// What was measured.
    pub(crate) metrics: Vec<Metric>,
    /// What the run and its samples cost.
    pub(crate) costs: Vec<Metric>,
    /// Files of a finished run that could not be read, and why.
    pub(crate) problems: Vec<String>,
}

/// The file in which a failed run leaves its reason.
pub const ERROR_FILE: &str = "error.txt";

impl Run {
    /// The run in `folder`.
    pub fn read(folder: &Path) -> Self {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let config = config::read(folder);
        let mut values = config::values(config.as_ref(), &name);
        let status = match evaluation(folder) {
            Ok(Some(evaluated)) => {
                let told = evaluated.0.into_iter();
                values.0.extend(told.filter(|(column, value)| column != "run" && !value.is_empty()));
                Status::Done
            }
            Ok(None) => Status::Failed(reason(folder).unwrap_or_else(|| "unfinished".to_owned())),
            Err(error) => Status::Failed(error.to_string()),
        };
        let mut problems = Vec::new();
        let metrics = match metric::read(folder) {
            _ if status != Status::Done => Vec::new(),
            Ok(Some(metrics)) => {
                if metrics.is_of_earlier_version {
                    let problem = "metrics.csv is of an earlier version, without targets and metrics that have no \
                                   better direction: `gen evaluate` writes a new one";
                    problems.push(problem.to_owned());
                }
                metrics.rows
            }
            Ok(None) => evaluation::metrics(&values),
            Err(reason) => {
                problems.push(format!("metrics.csv cannot be read: {reason}"));
                evaluation::metrics(&values)
            }
        };
        Run {
            folder: folder.to_owned(),
            status,
            settings: config.as_ref().map(config::settings),
            metrics,
            costs: evaluation::costs(&values),
            values,
            problems,
        }
    }

    /// Whether it was trained and measured.
    pub fn is_done(&self) -> bool {
        self.status == Status::Done
    }

    /// The value in a column; empty where there is none.
    pub fn text(&self, column: &str) -> &str {
        match (column, &self.status) {
            ("status", Status::Done) => "done",
            ("status", Status::Failed(_)) => "failed",
            ("error", Status::Done) => "",
            ("error", Status::Failed(reason)) => reason,
            _ => self.values.text(column),
        }
    }

    /// The number in a column, which may be infinite or NaN; `None` where there is none.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.text(column).parse().ok()
    }

    /// The name of its folder.
    pub fn name(&self) -> &str {
        self.text("run")
    }

    /// The name of its model, or of the reference.
    pub fn model(&self) -> &str {
        self.text("model")
    }

    /// The family of its model.
    pub fn family(&self) -> &str {
        self.text("family")
    }

    /// The name of its folder, also where [`Run::name`] has that of the folder above as well.
    pub(crate) fn folder_name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The name of the folder above and `name`.
    pub(crate) fn below_its_parent(&self, name: &str) -> String {
        let above = self.folder.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") }
    }

    /// Whether this is a reference row and not a trained model.
    pub fn is_reference(&self) -> bool {
        self.family() == REFERENCE
    }

    /// All columns that have a value.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.values.0.keys().map(String::as_str)
    }

    fn order(&self, other: &Self) -> Ordering {
        self.rank()
            .cmp(&other.rank())
            .then_with(|| self.model().cmp(other.model()))
            .then_with(|| self.number("seed").unwrap_or(0.0).total_cmp(&other.number("seed").unwrap_or(0.0)))
            .then_with(|| self.name().cmp(other.name()))
    }

    /// Families in the order in which they are introduced, then references, best first.
    fn rank(&self) -> usize {
        let order = ["gan", "vae", "flow", "diffusion", "baseline"];
        let references = ["floor", "pixel-gaussian", "pixel-noise"];
        let position = |list: &[&str], name: &str| list.iter().position(|n| *n == name).unwrap_or(list.len());
        if self.is_reference() {
            order.len() + 1 + position(&references, self.model())
        } else {
            position(&order, self.family())
        }
    }
}

/// All runs in the folder of an experiment, in the order of tables.
///
/// # Errors
///
/// If the folder cannot be read.
pub fn read_all(experiment: &Path) -> Result<Vec<Run>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(experiment).map_err(Error::read(experiment))? {
        let folder = entry.map_err(Error::read(experiment))?.path();
        if is_run(&folder) {
            folders.push(folder);
        }
    }
    Ok(read_folders(&folders))
}

/// Whether a folder has a file that runs leave.
pub(crate) fn is_run(folder: &Path) -> bool {
    let files = ["evaluation.csv", "config.toml", "log.txt", ERROR_FILE];
    files.iter().any(|file| folder.join(file).is_file())
}

/// These runs, in the order of tables. Runs with the same name also get the name of the folder above.
pub(crate) fn read_folders(folders: &[PathBuf]) -> Vec<Run> {
    let mut runs: Vec<Run> = folders.iter().map(|folder| Run::read(folder)).collect();
    let twice: Vec<bool> =
        runs.iter().map(|run| runs.iter().filter(|other| other.name() == run.name()).count() > 1).collect();
    for (run, twice) in runs.iter_mut().zip(twice) {
        if twice {
            run.values.insert("run", &run.below_its_parent(run.folder_name()));
        }
    }
    // A run that failed at its very start only knows its model; another run of that model has the family.
    for index in 0..runs.len() {
        if runs[index].family().is_empty()
            && let Some(sibling) =
                runs.iter().find(|run| run.model() == runs[index].model() && !run.family().is_empty())
        {
            let family = sibling.family().to_owned();
            runs[index].values.insert("family", &family);
        }
    }
    runs.sort_by(Run::order);
    runs
}

/// Why a run failed, as written by the program that started it.
fn reason(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(ERROR_FILE)).ok()?;
    text.lines().next().filter(|line| !line.trim().is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_folder;

    fn status(evaluation: &str) -> Status {
        let folder = tempfile::tempdir().unwrap();
        Run::read(&run_folder(folder.path(), "vae-digits-s0", Some(evaluation))).status
    }

    #[track_caller]
    fn assert_failed(evaluation: &str, why: &str) {
        match status(evaluation) {
            Status::Failed(reason) => assert!(reason.contains(why), "{reason}"),
            Status::Done => panic!("{evaluation:?} was taken as an evaluation"),
        }
    }

    #[test]
    fn columns_go_by_name_and_the_last_row_counts() {
        let folder = tempfile::tempdir().unwrap();
        let text = "fd,model,family,extra\n3.5,vae,vae,x\n2.5,vae,vae,y\n";
        let run = Run::read(&run_folder(folder.path(), "vae-digits-s3", Some(text)));
        assert!(run.is_done());
        assert_eq!(run.number("fd"), Some(2.5));
        assert_eq!((run.text("extra"), run.text("seed"), run.text("dataset")), ("y", "3", "digits"));
        assert_eq!((run.text("status"), run.text("error"), run.text("kid")), ("done", "", ""));
    }

    #[test]
    fn every_type_of_column_is_read() {
        assert_eq!(status("model,fd,seed,memorised\nvae,0.5,3,false\n"), Status::Done);
    }

    #[test]
    fn a_torn_or_foreign_evaluation_is_a_failed_run_with_its_reason() {
        assert_failed("model,fd\nvae,3.", "cut off");
        assert_failed("model,fd\nvae\n", "fields");
        assert_failed("model,fd\n", "no row");
        assert_failed("fd\n1.0\n", "no `model`");
        assert_failed("model,fd\nvae,many\n", "`fd` should be a number");
        assert_failed("model,memorised\nvae,1\n", "`memorised` should be `true` or `false`");
        assert_failed("", "cut off");
    }

    #[test]
    fn numbers_that_are_not_finite_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = "model,fd,kid,coverage\nvae,NaN,inf,\n";
        let run = Run::read(&run_folder(folder.path(), "vae-digits-s0", Some(text)));
        assert!(run.number("fd").is_some_and(f64::is_nan));
        assert_eq!((run.number("kid"), run.number("coverage")), (Some(f64::INFINITY), None));
    }

    #[test]
    fn a_failed_run_has_what_its_folder_tells() {
        let folder = tempfile::tempdir().unwrap();
        let path = run_folder(folder.path(), "ddpm-fashion-mnist-s2", None);
        fs::write(path.join(ERROR_FILE), "the loss `mse` is NaN at step 12\n").unwrap();
        let run = Run::read(&path);
        assert_eq!((run.model(), run.text("dataset"), run.text("seed")), ("ddpm", "fashion-mnist", "2"));
        assert_eq!(run.text("error"), "the loss `mse` is NaN at step 12");
        let config = "[run]\nfamily = \"diffusion\"\nthreads = 2\nbudget = \"60s\"\n[training]\nprecision = \"bf16\"\n";
        fs::write(path.join("config.toml"), config).unwrap();
        let run = Run::read(&path);
        assert_eq!((run.family(), run.text("threads"), run.text("model")), ("diffusion", "2", "ddpm"));
        assert_eq!((run.text("budget"), run.text("train_precision")), ("60s", "bf16"));
        fs::remove_file(path.join(ERROR_FILE)).unwrap();
        assert_eq!(Run::read(&path).text("error"), "unfinished");
    }

    #[test]
    fn families_come_in_order_and_references_last() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            ("reference-pixel-noise", "model,family\npixel-noise,reference\n"),
            ("reference-floor", "model,family\nfloor,reference\n"),
            ("ddpm-d-s0", "model,family\nddpm,diffusion\n"),
            ("vae-d-s10", "model,family\nvae,vae\n"),
            ("vae-d-s9", "model,family\nvae,vae\n"),
            ("dcgan-d-s0", "model,family\ndcgan,gan\n"),
        ];
        for (name, text) in rows {
            run_folder(folder.path(), name, Some(text));
        }
        fs::create_dir(folder.path().join("figures")).unwrap();
        let names: Vec<String> = read_all(folder.path()).unwrap().iter().map(|run| run.name().to_owned()).collect();
        assert_eq!(
            names,
            ["dcgan-d-s0", "vae-d-s9", "vae-d-s10", "ddpm-d-s0", "reference-floor", "reference-pixel-noise"]
        );
    }
}
