use gen_core::model::GenerativeModel;
use gen_core::params::NamedTensors;
use gen_core::train::{OpenRow, Trainer, Validated};
use gen_core::{Error, Result};

use super::RunFolder;
use crate::checkpoint::{self, Checkpoint};
use crate::config::RunConfig;

impl RunFolder {
    /// Saves the state of a trainer as the latest checkpoint, and keeps the previous one.
    ///
    /// # Errors
    /// When a file cannot be written; the earlier checkpoint is unchanged then.
    pub fn save<M: GenerativeModel + ?Sized>(&self, trainer: &mut Trainer<'_, M>) -> Result<()> {
        // A checkpoint must not outlive the rows before it.
        self.history().sync()?;
        self.validations().sync()?;
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

    /// Saves the current sampling weights as the best, after a validation that found them so and before the checkpoint
    /// that records it.
    ///
    /// # Errors
    /// When a file cannot be written; the earlier best weights are unchanged then.
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

    /// Takes a new trainer, and the history, back to the latest whole checkpoint, or to the start if the run has saved
    /// none. Returns the errors of later checkpoints that are damaged.
    ///
    /// # Errors
    /// When all checkpoints are damaged, or the latest whole one does not fit the model.
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
        self.validations().rewind(trainer.progress().step)?;
        Ok(damaged)
    }

    /// `best`, if its weights are saved. The saved weights may be those of a later validation, after which the run was
    /// killed. They are removed, since that validation is repeated, with the same result unless the budget is in
    /// seconds.
    fn restore_best(&self, best: Option<Validated>, damaged: &mut Vec<Error>) -> Result<Option<Validated>> {
        match checkpoint::load_best(&self.checkpoints()) {
            Ok(Some(saved)) if saved.best == best => return Ok(best),
            Ok(_) => {}
            Err(error) => damaged.push(error),
        }
        checkpoint::remove_best(&self.checkpoints())?;
        Ok(None)
    }

    /// The weights of the best validation.
    ///
    /// # Errors
    /// When the run has none, or they are damaged.
    pub fn best(&self) -> Result<Checkpoint> {
        checkpoint::load_best(&self.checkpoints())?.ok_or_else(|| {
            let RunConfig { run, training, .. } = &self.config;
            let why = match training.validation_rows {
                0 => "its `validation_rows` is 0".to_owned(),
                _ => format!(
                    "`{}` has no validation loss, its data has no validation rows, or no validation is done yet",
                    run.model
                ),
            };
            Error::invalid(format!("the run in {} has no best weights: {why}", self.path.display()))
        })
    }

    /// The latest whole checkpoint; `None` where the run has saved none.
    ///
    /// # Errors
    /// When all checkpoints are damaged.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        checkpoint::load(&self.checkpoints())
    }

    /// The latest whole checkpoint.
    ///
    /// # Errors
    /// When there is none.
    pub fn require_checkpoint(&self) -> Result<Checkpoint> {
        self.checkpoint()?
            .ok_or_else(|| Error::invalid(format!("the run in {} has not saved a checkpoint yet", self.path.display())))
    }
}
