//! Reading checkpoints, with a word about those that are not whole.

use gen_run::{Checkpoint, RunFolder};

/// The best weights of a run if `best` is asked for, otherwise [`newest`].
pub(crate) fn chosen(folder: &RunFolder, best: bool) -> gen_core::Result<Checkpoint> {
    if best { folder.best() } else { newest(folder) }
}

/// The newest whole checkpoint of a run; one that had to be passed over is a warning on standard error.
fn newest(folder: &RunFolder) -> gen_core::Result<Checkpoint> {
    let checkpoint = folder.require_checkpoint()?;
    for reason in &checkpoint.damaged {
        crate::eprint(&warning(reason, checkpoint.progress.step));
    }
    Ok(checkpoint)
}

/// What to say of a checkpoint that is not whole, in whose place that of `step` is used.
pub(crate) fn warning(reason: &gen_core::Error, step: u64) -> String {
    format!("warning: {reason}; the checkpoint of step {step} is used instead")
}
