mod checkpoints;
mod data;

use std::path::{Path, PathBuf};

use gen_core::model::GenerativeModel;
use gen_core::registry::{BuildContext, ModelEntry};
use gen_core::train::{LogRecord, ValidationRecord};
use gen_core::{Error, Result};
use tch::Device;

use crate::checkpoint;
use crate::config::RunConfig;
use crate::files::{self, remove_temporary, write_atomically};
use crate::history::History;
use crate::lock::Lock;

/// The folder of a run.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    config: RunConfig,
    /// Held while the run is open for training.
    _lock: Option<Lock>,
}

impl RunFolder {
    /// Starts a run in `path`. No other process can train there while this value lives. It replaces a run that has not
    /// saved anything.
    ///
    /// # Errors
    /// As [`RunFolder::check_free`], when another process trains there, or when the folder cannot be written.
    pub fn create(path: impl AsRef<Path>, config: RunConfig) -> Result<Self> {
        let path = path.as_ref().to_owned();
        std::fs::create_dir_all(&path).map_err(Error::io(&path))?;
        let lock = Lock::take(&path)?;
        Self::check_free(&path)?;
        let folder = RunFolder { path, config, _lock: Some(lock) };
        // Leftovers of a run that is replaced.
        folder.remove_temporary_files();
        folder.history().remove()?;
        folder.validations().remove()?;
        files::remove_pictures(&folder.path.join("samples"), "step-");
        checkpoint::remove_best(&folder.checkpoints())?;
        folder.write_config()?;
        Ok(folder)
    }

    /// Checks that a run can be started in `path`.
    ///
    /// # Errors
    /// When it holds a run that has saved its work, or a `config.toml` that belongs to no run.
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
        let text = self.config.to_toml().map_err(Error::file(&file))?;
        remove_temporary(&self.path, "config.");
        write_atomically(&file, |temporary| std::fs::write(temporary, &text).map_err(Error::io(&file)))?;
        files::sync_parent(&self.path)
    }

    /// Replaces `config.toml`, for another budget or another place of the data.
    ///
    /// # Errors
    /// When it cannot be written; the file is unchanged then.
    pub fn set_config(&mut self, config: RunConfig) -> Result<()> {
        let before = std::mem::replace(&mut self.config, config);
        let written = self.write_config();
        if written.is_err() {
            self.config = before;
        }
        written
    }

    /// Whether the run has saved a checkpoint, whole or damaged.
    pub fn has_saved(&self) -> bool {
        checkpoint::is_there(&self.checkpoints())
    }

    /// Opens the run in `path` to continue it with [`RunFolder::restore`]. No other process can train there while this
    /// value lives.
    ///
    /// # Errors
    /// As [`RunFolder::open`], and when another process trains there.
    pub fn resume(path: impl AsRef<Path>) -> Result<Self> {
        let folder = Self::open(path)?;
        let lock = Lock::take(&folder.path)?;
        folder.remove_temporary_files();
        Ok(RunFolder { _lock: Some(lock), ..folder })
    }

    /// Removes the files that a killed process was writing.
    fn remove_temporary_files(&self) {
        for prefix in ["config.", "history.", "validation."] {
            remove_temporary(&self.path, prefix);
        }
        remove_temporary(&self.path.join("samples"), "step-");
    }

    /// Opens the run in `path` to read it, also while it trains.
    ///
    /// # Errors
    /// When there is no run, or its `config.toml` is invalid.
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
        let config = RunConfig::from_toml(&text).map_err(Error::file(&file))?;
        Ok(RunFolder { path, config, _lock: None })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the folder, which is the name of the run.
    pub fn name(&self) -> String {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        // `.` and `..` have names as canonical paths only.
        name(&self.path).or_else(|| name(&self.path.canonicalize().ok()?)).unwrap_or_default()
    }

    /// The content of `config.toml`.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Builds the model of the run, one of `models`, with fresh weights and the sampling options of the run.
    ///
    /// # Errors
    /// When the model is not among them, or does not support its configuration.
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
        let mut model = entry.build(&self.config.model, &context)?;
        model.set_sampling_options(&self.config.sampling)?;
        Ok(model)
    }

    /// Adds a row to `history.csv`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn log(&self, record: &LogRecord) -> Result<()> {
        self.history().append(record)
    }

    fn history(&self) -> History {
        History::training(&self.path)
    }

    /// Adds a row to `validation.csv`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn log_validation(&self, record: &ValidationRecord) -> Result<()> {
        self.validations().append_validation(record)
    }

    fn validations(&self) -> History {
        History::validation(&self.path)
    }

    /// Removes the rows of `history.csv` after `step`, which a resumed run writes again.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn rewind_history(&self, step: u64) -> Result<()> {
        self.history().rewind(step)
    }

    /// The path of the sample grid `name`.
    pub fn sample_path(&self, name: &str) -> PathBuf {
        self.path.join("samples").join(format!("{name}.png"))
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoint")
    }
}
