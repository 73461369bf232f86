use std::path::{Path, PathBuf};

use gen_core::data::{DataSpec, Dataset};
use gen_core::model::GenerativeModel;
use gen_core::number::plain;
use gen_core::params::NamedTensors;
use gen_core::registry::{BuildContext, ModelEntry};
use gen_core::train::{LogRecord, OpenRow, Trainer, Validated, ValidationRecord};
use gen_core::{Error, Result};
use tch::Device;

use crate::checkpoint::{self, Checkpoint};
use crate::config::RunConfig;
use crate::files::{self, remove_temporary, write_atomically};
use crate::history;
use crate::lock::Lock;

/// A folder that a run writes.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    config: RunConfig,
    /// Held by who trains.
    _lock: Option<Lock>,
}

impl RunFolder {
    /// Starts a run in `path`. Nobody else can train there while this value lives. A run that has not saved anything, since
    /// it failed or was stopped before, gives way.
    ///
    /// # Errors
    /// As [`RunFolder::check_free`], when another process trains there, or the folder cannot be written.
    pub fn create(path: impl AsRef<Path>, config: RunConfig) -> Result<Self> {
        let path = path.as_ref().to_owned();
        std::fs::create_dir_all(&path).map_err(Error::io(&path))?;
        let lock = Lock::take(&path)?;
        Self::check_free(&path)?;
        let folder = RunFolder { path, config, _lock: Some(lock) };
        // Of a run that gives way.
        for rows in [folder.history(), folder.validations()] {
            files::remove(&rows)?;
        }
        files::remove_pictures(&folder.path.join("samples"), "step-");
        checkpoint::remove_best(&folder.checkpoints())?;
        folder.write_config()?;
        Ok(folder)
    }

    /// Whether a run can be started in `path`.
    ///
    /// # Errors
    /// When a run that has saved its work is there already, or a `config.toml` that is of no run.
    pub fn check_free(path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if !path.join("config.toml").exists() {
            return Ok(());
        }
        match Self::open(path) {
            Ok(folder) if !folder.has_saved() => Ok(()),
            Ok(_) => Err(Error::invalid(format!(
                "{} holds a run already: continue it with --resume, or choose another folder",
                path.display()
            ))),
            Err(error) => Err(Error::invalid(format!("{error}: choose another folder"))),
        }
    }

    fn write_config(&self) -> Result<()> {
        let file = self.path.join("config.toml");
        let text =
            toml::to_string_pretty(&self.config).map_err(|error| Error::format(&file, error.to_string()))?;
        remove_temporary(&self.path, "config.");
        write_atomically(&file, |temporary| std::fs::write(temporary, &text).map_err(Error::io(&file)))?;
        files::sync_parent(&self.path)
    }

    /// Changes `config.toml`: for another budget, or data that lie elsewhere.
    ///
    /// # Errors
    /// When it cannot be written; the file is what it was then.
    pub fn set_config(&mut self, config: RunConfig) -> Result<()> {
        let before = std::mem::replace(&mut self.config, config);
        let written = self.write_config();
        if written.is_err() {
            self.config = before;
        }
        written
    }

    /// Whether there is a checkpoint, whole or not.
    pub fn has_saved(&self) -> bool {
        checkpoint::is_there(&self.checkpoints())
    }

    /// Opens the run in `path` to go on with it; [`RunFolder::restore`] comes next. Nobody else can train there
    /// while this value lives.
    ///
    /// # Errors
    /// As [`RunFolder::open`], and when another process trains there.
    pub fn resume(path: impl AsRef<Path>) -> Result<Self> {
        let folder = Self::open(path)?;
        let lock = Lock::take(&folder.path)?;
        for prefix in ["config.", "history.", "validation."] {
            remove_temporary(&folder.path, prefix);
        }
        remove_temporary(&folder.path.join("samples"), "step-");
        Ok(RunFolder { _lock: Some(lock), ..folder })
    }

    /// Opens the run in `path` to read it, which can be done while it trains.
    ///
    /// # Errors
    /// When there is none, or its `config.toml` is not one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let file = path.join("config.toml");
        if !file.is_file() {
            return Err(Error::invalid(format!(
                "there is no run in {}: it has no config.toml; `gen train MODEL --data NAME --out {0}` makes one",
                path.display()
            )));
        }
        let text = std::fs::read_to_string(&file).map_err(Error::io(&file))?;
        let config = toml::from_str(&text).map_err(|error: toml::de::Error| {
            Error::format(&file, format!("not a run's configuration: {}", error.message()))
        })?;
        Ok(RunFolder { path, config, _lock: None })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the folder, which is the name of the run.
    pub fn name(&self) -> String {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        // `.` and `..` have a name where they are.
        name(&self.path).or_else(|| name(&self.path.canonicalize().ok()?)).unwrap_or_default()
    }

    /// What `config.toml` says.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Builds the run's model from one of `models`, with fresh weights.
    ///
    /// # Errors
    /// When the model is not among them, or its configuration is not possible.
    pub fn build<'m>(
        &self,
        models: impl IntoIterator<Item = &'m ModelEntry>,
        device: Device,
    ) -> Result<Box<dyn GenerativeModel>> {
        let models: Vec<_> = models.into_iter().collect();
        let name = &self.config.run.model;
        let entry = models
            .iter()
            .find(|entry| entry.name == *name)
            .ok_or_else(|| Error::unknown("model", name, models.iter().map(|entry| entry.name)))?;
        let context = BuildContext { data: self.config.data.clone(), device, seed: self.config.run.seed };
        entry.build(&self.config.model, &context)
    }

    /// Adds a row to `history.csv`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn log(&self, record: &LogRecord) -> Result<()> {
        history::append(&self.history(), record)
    }

    fn history(&self) -> PathBuf {
        self.path.join("history.csv")
    }

    /// Adds a row to `validation.csv`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn log_validation(&self, record: &ValidationRecord) -> Result<()> {
        history::append_validation(&self.validations(), record)
    }

    fn validations(&self) -> PathBuf {
        self.path.join("validation.csv")
    }

    /// Drops the rows of `history.csv` after `step`, which a resumed run writes again.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn rewind_history(&self, step: u64) -> Result<()> {
        history::rewind(&self.history(), step)
    }

    /// Where the grid called `name` lies.
    pub fn sample_path(&self, name: &str) -> PathBuf {
        self.path.join("samples").join(format!("{name}.png"))
    }

    /// Saves the state of a run as its latest checkpoint; the one before is kept beside it.
    ///
    /// # Errors
    /// When a file cannot be written; the earlier checkpoint is whole then.
    pub fn save<M: GenerativeModel + ?Sized>(&self, trainer: &mut Trainer<'_, M>) -> Result<()> {
        history::sync(&self.history())?;
        history::sync(&self.validations())?;
        let content = checkpoint::Content {
            state: &trainer.state(),
            progress: trainer.progress(),
            row: trainer.open_row(),
            best: trainer.best(),
            since_best: trainer.since_best(),
        };
        checkpoint::save(&self.checkpoints(), content)?;
        trainer.saved();
        Ok(())
    }

    /// Saves the present weights to sample with as the best; for a validation that says so, before the checkpoint that
    /// remembers it.
    ///
    /// # Errors
    /// When a file cannot be written; the best weights before are whole then.
    pub fn save_best<M: GenerativeModel + ?Sized>(&self, trainer: &Trainer<'_, M>) -> Result<()> {
        let mut state = NamedTensors::new();
        match trainer.averaged_weights() {
            Some(average) => state.extend(checkpoint::AVERAGE.trim_end_matches('.'), average.shallow_clone()),
            None => state.extend("weights", trainer.model().weights()),
        }
        let content = checkpoint::Content {
            state: &state,
            progress: trainer.progress(),
            row: OpenRow::default(),
            best: trainer.best(),
            since_best: trainer.since_best(),
        };
        checkpoint::save_best(&self.checkpoints(), content)
    }

    /// Takes a trainer that has not begun to where the run was last saved, and the history with it; to the start where
    /// it never was. Later checkpoints that are not whole are passed over and returned as the reasons why.
    ///
    /// # Errors
    /// When there are checkpoints and none is whole, or it does not fit the model.
    pub fn restore<M: GenerativeModel + ?Sized>(&self, trainer: &mut Trainer<'_, M>) -> Result<Vec<Error>> {
        let mut damaged = Vec::new();
        if let Some(checkpoint) = self.checkpoint()? {
            trainer.restore(&checkpoint.state, checkpoint.progress)?;
            trainer.restore_row(checkpoint.row)?;
            damaged = checkpoint.damaged;
            let best = self.restore_best(checkpoint.best, &mut damaged)?;
            trainer.restore_best(best, checkpoint.since_best);
        } else {
            checkpoint::remove_best(&self.checkpoints())?;
        }
        self.rewind_history(trainer.progress().step)?;
        history::rewind_validation(&self.validations(), trainer.progress().step)?;
        Ok(damaged)
    }

    /// `best`, if its weights are there. Those of a later validation, after which the run was killed, are not: that one
    /// comes again. (Only where a budget is of seconds may it come out otherwise.)
    fn restore_best(&self, best: Option<Validated>, damaged: &mut Vec<Error>) -> Result<Option<Validated>> {
        match checkpoint::load_best(&self.checkpoints()) {
            Ok(Some(there)) if there.best == best => return Ok(best),
            Ok(_) => {}
            Err(error) => damaged.push(error),
        }
        checkpoint::remove_best(&self.checkpoints())?;
        Ok(None)
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoint")
    }

    /// The weights that the best validation looked at.
    ///
    /// # Errors
    /// When the run has kept none, or they are not whole.
    pub fn best(&self) -> Result<Checkpoint> {
        checkpoint::load_best(&self.checkpoints())?.ok_or_else(|| {
            let RunConfig { run, training, .. } = &self.config;
            let why = match training.validation_rows {
                0 => "its `validation_rows` is 0".to_owned(),
                _ => format!(
                    "`{}` has no loss to validate by, its data has no validation rows, or none has been looked at yet",
                    run.model
                ),
            };
            Error::invalid(format!("the run in {} has no best weights: {why}", self.path.display()))
        })
    }

    /// The latest whole checkpoint; `None` where the run has not saved one.
    ///
    /// # Errors
    /// When there are checkpoints and none can be read.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        checkpoint::load(&self.checkpoints())
    }

    /// The latest whole checkpoint.
    ///
    /// # Errors
    /// When there is none.
    pub fn require_checkpoint(&self) -> Result<Checkpoint> {
        self.checkpoint()?.ok_or_else(|| {
            Error::invalid(format!("the run in {} has not saved a checkpoint yet", self.path.display()))
        })
    }

    /// Data as this run's model expects it: `data` with the run's options, under the name by which the run knows it. Where the
    /// data lie does not matter, what they are does.
    ///
    /// # Errors
    /// When the data is not what the run was trained on.
    pub fn prepare(&self, data: Dataset) -> Result<Dataset> {
        let expected = &self.config.data;
        self.check_same_files(&data.spec)?;
        let mut data = data.with_options(&expected.options)?;
        self.check_data(&data.spec)?;
        data.spec.name.clone_from(&expected.name);
        Ok(data)
    }

    /// Whether data, with its options, is what this run was trained on. Where it lies does not matter.
    ///
    /// # Errors
    /// When it is not; the message says in what.
    pub fn check_data(&self, found: &DataSpec) -> Result<()> {
        self.check_same_files(found)?;
        match read_otherwise(found, &self.config.data) {
            None => Ok(()),
            Some(how) => Err(Error::invalid(format!(
                "`{}` is the data that the run in {} was trained on, but read otherwise: {how}; give it the same options",
                found.name,
                self.path.display()
            ))),
        }
    }

    fn check_same_files(&self, found: &DataSpec) -> Result<()> {
        let expected = &self.config.data;
        let is_same = match (expected.sha256.is_empty(), found.sha256.is_empty()) {
            (true, true) => expected.name == found.name,
            _ => expected.sha256 == found.sha256,
        };
        if is_same {
            return Ok(());
        }
        let hash = |spec: &DataSpec| match spec.sha256.as_str() {
            "" => "no SHA-256, since they are made by formula".to_owned(),
            sha256 => format!("the SHA-256 {sha256}"),
        };
        Err(Error::invalid(format!(
            "the run in {} was trained on other data: the files of `{}` have {}, those of `{}`, which it was trained on, have \
             {}; it needs the same files, wherever they lie",
            self.path.display(),
            found.name,
            hash(found),
            expected.name,
            hash(expected)
        )))
    }
}

/// How the rows of the same files, as they were `found`, differ from those that a run was trained on.
fn read_otherwise(found: &DataSpec, expected: &DataSpec) -> Option<String> {
    if found.shape != expected.shape || found.values != expected.values {
        return Some(format!(
            "as {:?} {:?}, then as {:?} {:?}",
            found.values, found.shape, expected.values, expected.shape
        ));
    }
    // Columns in another order, or others of the same number.
    let columns =
        || (1..).zip(found.mean.iter().zip(&found.std).zip(expected.mean.iter().zip(&expected.std)));
    let other = columns().find(|(_, ((mean, std), (mean_then, std_then)))| {
        let scale = std.max(**std_then).max(1e-6 * mean_then.abs()).max(f64::MIN_POSITIVE);
        (*mean - *mean_then).abs() > 1e-3 * scale || (*std - *std_then).abs() > 1e-3 * scale
    });
    other.map(|(column, ((mean, _), (mean_then, _)))| {
        format!("the mean of column {column} is {}, and was {}", plain(*mean), plain(*mean_then))
    })
}
