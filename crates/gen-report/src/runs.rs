//! The runs of an experiment, read from their folders.
//!
//! Every file is taken as it may be: cut off, edited, of another version.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::csv_file::Table;
use crate::dictionary;
use crate::error::{Error, Result};
use crate::metrics::{self, Metric};

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
    /// What `config.toml` has of hyperparameters, training settings and options of the data, by dotted name.
    settings: Option<BTreeMap<String, String>>,
    /// Its numbers in long form.
    pub(crate) metrics: Vec<Metric>,
    /// What could not be read, though the run was done.
    pub(crate) problems: Vec<String>,
}

/// What is known of a run, by column.
pub type Values = HashMap<String, String>;

/// The family of reference rows.
const REFERENCE: &str = "reference";
/// The prefix of their folders.
pub const REFERENCE_PREFIX: &str = "reference-";
/// Where a failed run leaves its reason.
pub const ERROR_FILE: &str = "error.txt";

/// The columns in which seeds of one model agree, besides what makes the model and the data.
const ALIKE: [&str; 10] = [
    "budget",
    "device",
    "train_precision",
    "weights",
    "sampler",
    "nfe",
    "n_real",
    "n_fake",
    "feature_space",
    "feature_sha256",
];

impl Run {
    /// The run in `folder`.
    pub fn read(folder: &Path) -> Self {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let config = config(folder);
        let mut values = known_without_evaluation(config.as_ref(), &name);
        values.insert("run".to_owned(), name);
        let status = match evaluation(folder) {
            Ok(Some(evaluated)) => {
                values.extend(
                    evaluated.into_iter().filter(|(column, value)| column != "run" && !value.is_empty()),
                );
                Status::Done
            }
            Ok(None) => Status::Failed(reason(folder).unwrap_or_else(|| "unfinished".to_owned())),
            Err(error) => Status::Failed(error.to_string()),
        };
        let mut run = Run {
            folder: folder.to_owned(),
            status,
            values,
            settings: config.as_ref().map(settings),
            metrics: Vec::new(),
            problems: Vec::new(),
        };
        run.metrics = match metrics::read(folder) {
            _ if !run.is_done() => Vec::new(),
            Ok(Some(metrics)) => {
                if metrics.is_of_earlier_version {
                    let problem = "metrics.csv is of an earlier version, which knew no target and no number without a \
                                   better side: `gen evaluate` writes it anew";
                    run.problems.push(problem.to_owned());
                }
                metrics.rows
            }
            Ok(None) => metrics::of_evaluation(&run),
            Err(reason) => {
                run.problems.push(format!("metrics.csv cannot be read: {reason}"));
                metrics::of_evaluation(&run)
            }
        };
        run
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
            _ => self.values.get(column).map_or("", String::as_str),
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

    /// Its name and that of the folder above, for runs from several experiments.
    pub(crate) fn long_name(&self) -> String {
        let above = self.folder.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        if above.is_empty() { name.into_owned() } else { format!("{above}/{name}") }
    }

    pub(crate) fn rename(&mut self, name: String) {
        self.values.insert("run".to_owned(), name);
    }

    /// The name of its folder without the seed at its end: what the runs of one model have in common.
    pub(crate) fn stem(&self) -> &str {
        let name = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.rsplit_once("-s") {
            Some((stem, seed)) if seed.parse::<u64>().is_ok() => stem,
            _ => name,
        }
    }

    /// Whether both are of one model and differ in their seeds: of the same configuration, budget, data, device and
    /// precision, measured in the same way. What a run does not tell, as one that failed, stands in nobody's way.
    ///
    /// Where a configuration is not known, the names of the folders have to be alike but for the seed at their ends.
    pub(crate) fn is_another_seed_of(&self, other: &Self) -> bool {
        let alike = |column: &str| {
            let (one, two) = (self.text(column), other.text(column));
            one.is_empty() || two.is_empty() || one == two
        };
        let another_seed = || {
            let (one, two) = (self.text("seed"), other.text("seed"));
            one.is_empty() || two.is_empty() || one != two
        };
        self.family() == other.family()
            && self.model() == other.model()
            && self.is_of_same_data(other)
            && ALIKE.into_iter().all(alike)
            && match self.has_same_configuration(other) {
                Some(same) => same && another_seed(),
                None => self.stem() == other.stem() && self.folder.parent() == other.folder.parent(),
            }
    }

    /// Whether two configurations are the same but for the seed; `None` where one of them is not known.
    fn has_same_configuration(&self, other: &Self) -> Option<bool> {
        match [self, other].map(|run| run.text("config_sha256")) {
            [one, two] if !one.is_empty() && !two.is_empty() => Some(one == two),
            _ => Some(self.settings.as_ref()? == other.settings.as_ref()?),
        }
    }

    /// Whether both are of the same data: by its checksum where both have one, else by its name.
    pub(crate) fn is_of_same_data(&self, other: &Self) -> bool {
        match [self, other].map(|run| run.text("dataset_sha256")) {
            [one, two] if !one.is_empty() && !two.is_empty() => one == two,
            _ => self.text("dataset") == other.text("dataset"),
        }
    }

    /// In what this run differs from another beside the seed, as far as both tell: name, own value, the other's.
    pub(crate) fn differences(&self, other: &Self) -> Vec<(String, String, String)> {
        let none = BTreeMap::new();
        let settings = |run: &'_ Self| run.settings.as_ref().unwrap_or(&none).clone();
        let both =
            (self.settings.is_some() && other.settings.is_some()).then(|| [settings(self), settings(other)]);
        let [own, others] = both.unwrap_or_default();
        let names: BTreeSet<&String> = own.keys().chain(others.keys()).collect();
        let value = |settings: &BTreeMap<String, String>, name: &String| {
            settings.get(name).cloned().unwrap_or_else(|| "none".to_owned())
        };
        let found = names.into_iter().map(|name| {
            let short =
                ["model.", "training.", "data.options."].iter().find_map(|part| name.strip_prefix(part));
            (short.unwrap_or(name).to_owned(), value(&own, name), value(&others, name))
        });
        // The precision is a setting, too.
        let columns = ALIKE.iter().filter(|column| **column != "train_precision");
        let columns = columns.map(|column| {
            ((*column).to_owned(), self.text(column).to_owned(), other.text(column).to_owned())
        });
        let known = columns.filter(|(_, one, two)| !one.is_empty() && !two.is_empty());
        found.chain(known).filter(|(_, one, two)| one != two).collect()
    }

    /// Whether this is no trained model.
    pub fn is_reference(&self) -> bool {
        self.family() == REFERENCE
    }

    /// All columns that have a value.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
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

/// These runs, in the order of tables; those of one name get that of the folder above as well.
pub(crate) fn read_folders(folders: &[PathBuf]) -> Vec<Run> {
    let mut runs: Vec<Run> = folders.iter().map(|folder| Run::read(folder)).collect();
    let twice: Vec<bool> =
        runs.iter().map(|run| runs.iter().filter(|other| other.name() == run.name()).count() > 1).collect();
    for (run, twice) in runs.iter_mut().zip(twice) {
        if twice {
            run.rename(run.long_name());
        }
    }
    // A run that failed at its very start knows its model only; another of the same model tells the family.
    for index in 0..runs.len() {
        if runs[index].family().is_empty()
            && let Some(sibling) =
                runs.iter().find(|run| run.model() == runs[index].model() && !run.family().is_empty())
        {
            let family = sibling.family().to_owned();
            runs[index].values.insert("family".to_owned(), family);
        }
    }
    runs.sort_by(Run::order);
    runs
}

/// The latest row of a run's `evaluation.csv`; `None` where there is no such file.
///
/// # Errors
///
/// If there is one that is no evaluation.
pub fn evaluation(folder: &Path) -> Result<Option<Values>> {
    let path = folder.join("evaluation.csv");
    if !path.exists() {
        return Ok(None);
    }
    evaluation_in(&path).map(Some).map_err(|reason| Error::Content {
        file: "evaluation.csv".to_owned(),
        advice: " (remove it to evaluate again)",
        reason,
    })
}

/// The last row of an `evaluation.csv`, or what is wrong with it.
fn evaluation_in(path: &Path) -> Result<Values, String> {
    let table = Table::read(path)?;
    let row = table.rows.last().ok_or("it has no row")?;
    let values: Values = table.columns.iter().cloned().zip(row.iter().cloned()).collect();
    if values.get("model").is_none_or(String::is_empty) {
        return Err("it has no `model`".to_owned());
    }
    for column in dictionary::columns_of(dictionary::EVALUATION).filter(|column| column.kind != "string") {
        let value = values.get(&column.name).map_or("", String::as_str);
        let (fits, what) = match column.kind.as_str() {
            "boolean" => (["true", "false"].contains(&value), "`true` or `false`"),
            _ => (value.parse::<f64>().is_ok(), "a number"),
        };
        if !value.is_empty() && !fits {
            return Err(format!("`{}` should be {what}, found {value:?}", column.name));
        }
    }
    Ok(values)
}

/// `config.toml`, where there is one.
fn config(folder: &Path) -> Option<toml::Table> {
    toml::from_str(&fs::read_to_string(folder.join("config.toml")).ok()?).ok()
}

/// What of a configuration makes a model: all but the seed, the budget, the data itself and the machine, which have
/// columns of their own.
fn settings(config: &toml::Table) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for part in ["model", "training"] {
        flatten(part, config.get(part), &mut settings);
    }
    flatten("data.options", config.get("data").and_then(|data| data.get("options")), &mut settings);
    settings
}

fn flatten(name: &str, value: Option<&toml::Value>, into: &mut BTreeMap<String, String>) {
    match value {
        Some(toml::Value::Table(table)) => {
            for (key, value) in table {
                flatten(&format!("{name}.{key}"), Some(value), into);
            }
        }
        Some(value) => drop(into.insert(name.to_owned(), value.to_string())),
        None => {}
    }
}

/// What `config.toml`, or failing that the name of the folder, tells of a run.
fn known_without_evaluation(config: Option<&toml::Table>, name: &str) -> Values {
    let mut values = Values::new();
    let mut insert = |column: &str, value: &str| values.insert(column.to_owned(), value.to_owned());
    if let Some(reference) = name.strip_prefix(REFERENCE_PREFIX) {
        insert("family", REFERENCE);
        insert("model", reference);
        return values;
    }
    if let Some((front, seed)) = name.rsplit_once("-s").filter(|(_, seed)| seed.parse::<u64>().is_ok()) {
        let (model, dataset) = front.split_once('-').unwrap_or((front, ""));
        insert("model", model);
        insert("dataset", dataset);
        insert("seed", seed);
    }
    let told = [
        ("run", "family", "family"),
        ("run", "model", "model"),
        ("run", "dataset", "dataset"),
        ("run", "budget", "budget"),
        ("run", "seed", "seed"),
        ("run", "device", "device"),
        ("run", "threads", "threads"),
        ("run", "tool_version", "tool_version"),
        ("run", "libtorch_version", "libtorch_version"),
        ("training", "precision", "train_precision"),
        ("data", "sha256", "dataset_sha256"),
    ];
    for (part, key, column) in told {
        match config.and_then(|config| config.get(part)?.get(key)) {
            Some(toml::Value::String(text)) => insert(column, text),
            Some(toml::Value::Integer(number)) => insert(column, &number.to_string()),
            _ => None,
        };
    }
    values
}

/// Why a run failed, as the run that started it wrote it down.
fn reason(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(ERROR_FILE)).ok()?;
    text.lines().next().filter(|line| !line.trim().is_empty()).map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
        let names: Vec<String> =
            read_all(folder.path()).unwrap().iter().map(|run| run.name().to_owned()).collect();
        assert_eq!(
            names,
            ["dcgan-d-s0", "vae-d-s9", "vae-d-s10", "ddpm-d-s0", "reference-floor", "reference-pixel-noise"]
        );
    }
}
