//! The runs of an experiment, which have to agree with an earlier start of the same experiment.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gen_report::{Machine, Record};

use super::args::Args;
use super::job::Job;
use crate::experiment;

/// The reference rows of every experiment.
const REFERENCES: [&str; 3] = ["floor", "pixel-gaussian", "pixel-noise"];

/// The data, models, budget and settings of an experiment.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) data: String,
    pub(super) models: Vec<String>,
    pub(super) budget: String,
    pub(super) seeds: Vec<u64>,
    pub(super) evaluate_n: Option<u64>,
    /// `KEY=VALUE` by model.
    settings: BTreeMap<String, Vec<String>>,
    experiment: String,
    results: PathBuf,
}

impl Plan {
    pub(super) fn of(args: &Args) -> Result<Self> {
        let models = distinct(&args.models);
        let mut settings: BTreeMap<String, Vec<String>> =
            models.iter().map(|model| (model.clone(), Vec::new())).collect();
        for assignment in &args.set {
            let parts = assignment.split_once('.').filter(|(_, setting)| setting.contains('='));
            let Some((model, setting)) = parts else {
                bail!("--set {assignment}: expected MODEL.KEY=VALUE");
            };
            let Some(of_model) = settings.get_mut(model) else {
                bail!("--set {assignment}: `{model}` is not among the models {}", models.join(", "));
            };
            of_model.push(setting.to_owned());
        }
        let experiment = args
            .experiment
            .clone()
            .unwrap_or_else(|| format!("{}-{}", experiment::slug(&args.data), experiment::slug(&args.budget)));
        experiment::check_name(&experiment)?;
        Ok(Plan {
            data: args.data.clone(),
            models,
            budget: args.budget.clone(),
            seeds: distinct(&args.seeds),
            evaluate_n: args.evaluate_n,
            settings,
            experiment,
            results: args.places.results(),
        })
    }

    /// The folder of the experiment.
    pub(super) fn folder(&self) -> PathBuf {
        self.results.join(&self.experiment)
    }

    /// Checks that runs can be written, without leaving a file.
    pub(super) fn check_writable(&self) -> Result<()> {
        let folder = self.folder();
        let folder = if folder.is_dir() { folder } else { self.results.clone() };
        let probe = fs::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder));
        probe
            .map(drop)
            .with_context(|| format!("cannot write to {}: make it a folder that can be written", folder.display()))
    }

    /// Begins or continues the experiment: compares it with the record of an earlier start, and writes the record.
    ///
    /// The lock is held as long as the returned file.
    pub(super) fn start(&self) -> Result<Option<File>> {
        let folder = self.folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot write {}", folder.display()))?;
        let lock = lock(&folder)?;
        let mut record = Record {
            data: self.data.clone(),
            budget: self.budget.clone(),
            evaluate_n: self.evaluate_n,
            settings: self.settings.clone(),
            machine: Machine::this(),
        };
        if let Some(earlier) = Record::read(&folder)? {
            self.check_same(&earlier)?;
            let mut settings = earlier.settings;
            settings.append(&mut record.settings);
            record = Record { settings, machine: earlier.machine, ..record };
        }
        record.write(&folder)?;
        Ok(lock)
    }

    fn check_same(&self, earlier: &Record) -> Result<()> {
        let count = |n: Option<u64>| n.map_or("all".to_owned(), |n| n.to_string());
        let mut differences = vec![
            ("--data", earlier.data.clone(), self.data.clone()),
            ("--budget", earlier.budget.clone(), self.budget.clone()),
            ("--evaluate-n", count(earlier.evaluate_n), count(self.evaluate_n)),
        ];
        for (model, settings) in &self.settings {
            if let Some(before) = earlier.settings.get(model) {
                let text = |settings: &[String]| format!("{model} [{}]", settings.join(" "));
                differences.push(("--set", text(before), text(settings)));
            }
        }
        if let Some((option, before, now)) = differences.iter().find(|(_, before, now)| before != now) {
            bail!(
                "{} was started with {option} {before}, not {now}: choose another --experiment, \
                 or remove the folder to start anew",
                self.folder().display()
            );
        }
        Ok(())
    }

    /// All runs. References come first, since they are quick and test the evaluation.
    pub(super) fn jobs(&self) -> Vec<Job> {
        let folder = self.folder();
        let references = REFERENCES.iter().map(|name| Job::reference(&folder, name));
        let seeds = |model: &String| {
            let model = model.clone();
            self.seeds.iter().map(move |seed| (model.clone(), *seed)).collect::<Vec<_>>()
        };
        let runs = self.models.iter().flat_map(seeds);
        references.chain(runs.map(|(model, seed)| Job::train(self.run_folder(&model, seed), &model, seed))).collect()
    }

    fn run_folder(&self, model: &str, seed: u64) -> PathBuf {
        self.folder().join(format!("{model}-{}-s{seed}", experiment::slug(&self.data)))
    }

    /// The arguments of `gen` that train a model.
    pub(super) fn train_arguments(&self, model: &str, seed: u64) -> Vec<String> {
        let folder = self.run_folder(model, seed).to_string_lossy().into_owned();
        let seed = seed.to_string();
        let fixed = ["train", model, "--data", &self.data, "--budget", &self.budget, "--seed", &seed, "--out", &folder];
        let mut arguments: Vec<String> = fixed.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.extend(["--progress".to_owned(), "plain".to_owned()]);
        for setting in self.settings.get(model).into_iter().flatten() {
            arguments.extend(["--set".to_owned(), setting.clone()]);
        }
        arguments
    }

    /// `-n N`, if the user gave a number of samples.
    pub(super) fn evaluate_arguments(&self) -> Vec<String> {
        self.evaluate_n.map(|n| vec!["-n".to_owned(), n.to_string()]).unwrap_or_default()
    }
}

fn distinct<T: Clone + PartialEq>(values: &[T]) -> Vec<T> {
    let mut distinct: Vec<T> = Vec::new();
    for value in values {
        if !distinct.contains(value) {
            distinct.push(value.clone());
        }
    }
    distinct
}

/// Keeps a second `train-all` out of the folder. There is no lock where the file system has none.
fn lock(folder: &Path) -> Result<Option<File>> {
    let Ok(file) = File::open(folder) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            bail!("another train-all is working in {}: wait for it, or choose another --experiment", folder.display())
        }
        Err(TryLockError::Error(_)) => Ok(None),
    }
}
