//! The choice of a checkpoint, with a warning for each damaged one.

use gen_run::{Checkpoint, RunFolder};

use crate::message;

/// The best weights of a run, or its latest whole checkpoint. Each later checkpoint that is damaged is a warning.
pub(crate) fn load(folder: &RunFolder, best: bool) -> gen_core::Result<Checkpoint> {
    if best {
        return folder.best();
    }
    let checkpoint = folder.require_checkpoint()?;
    for reason in &checkpoint.damaged {
        message::warn(damage(reason, checkpoint.progress.step));
    }
    Ok(checkpoint)
}

/// Describes a damaged checkpoint, in whose place the one of `step` is used.
pub(crate) fn damage(reason: &gen_core::Error, step: u64) -> String {
    format!("{reason}; the checkpoint of step {step} is used instead")
}
