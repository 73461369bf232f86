mod manifest;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use gen_core::params::NamedTensors;
use gen_core::train::{OpenRow, Progress, Validated};
use gen_core::{Error, Result};
use safetensors::SafeTensors;
use tch::{Device, Tensor};

use self::manifest::{FileRecord, Manifest};
use crate::files::{sync, sync_parent};

/// A saved state of a run.
#[derive(Debug)]
pub struct Checkpoint {
    /// The state for [`Trainer::restore`](gen_core::train::Trainer::restore).
    pub state: NamedTensors,
    /// The progress of the run.
    pub progress: Progress,
    /// The row for [`Trainer::restore_row`](gen_core::train::Trainer::restore_row).
    pub row: OpenRow,
    /// The best validation so far.
    pub best: Option<Validated>,
    /// Validations after it.
    pub since_best: usize,
    /// The errors of later checkpoints, which are damaged.
    pub damaged: Vec<Error>,
}

impl Checkpoint {
    /// The weights for sampling: the average where one was kept, else the live ones.
    pub fn sampling_weights(&self) -> NamedTensors {
        let averaged = self.part(AVERAGE);
        if averaged.is_empty() { self.part("weights.") } else { averaged }
    }

    /// Whether the weights for sampling are a moving average.
    pub fn is_averaged(&self) -> bool {
        self.state.iter().any(|(name, _)| name.starts_with(AVERAGE))
    }

    fn part(&self, prefix: &str) -> NamedTensors {
        let inside = |(name, tensor): (&str, &Tensor)| {
            name.strip_prefix(prefix).map(|rest| (rest.to_owned(), tensor.shallow_clone()))
        };
        self.state.iter().filter_map(inside).collect()
    }
}

/// The files of a checkpoint, each with the prefix of its tensors.
const FILES: [(&str, &str); 3] =
    [("weights.safetensors", "weights."), ("ema.safetensors", "ema."), ("training.safetensors", "training.")];

/// The prefix of averaged weights.
pub(super) const AVERAGE: &str = "ema.average.";

/// The name of the earlier best weights while they are replaced.
const BEST_BEFORE: &str = "best-before";

/// As [`ASIDE`], for the best weights.
const BEST_ASIDE: &str = "best-new-";

/// The name of an unfinished checkpoint, before the number of its process.
const ASIDE: &str = "new-";

/// Writes a new folder, then renames it to `latest`; the old `latest` becomes `previous`.
///
/// At every moment one of the three is whole and on the disk.
pub(super) fn save(folder: &Path, content: Content<'_>) -> Result<()> {
    put(folder, content, ["latest", "previous", ASIDE])?;
    // Leftovers of killed processes.
    aside(folder).iter().try_for_each(|path| remove(path))
}

/// As [`save`], to `best`. The old `best` is removed.
pub(super) fn save_best(folder: &Path, content: Content<'_>) -> Result<()> {
    put(folder, content, ["best", BEST_BEFORE, BEST_ASIDE])?;
    let left = fs::read_dir(folder).into_iter().flatten().flatten();
    let left = left.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(BEST_ASIDE) || name == BEST_BEFORE
    });
    left.map(|entry| entry.path()).try_for_each(|path| remove(&path))
}

/// The content of a checkpoint.
pub(super) struct Content<'a> {
    pub(super) state: &'a NamedTensors,
    pub(super) progress: Progress,
    pub(super) row: OpenRow,
    pub(super) best: Option<Validated>,
    pub(super) since_best: usize,
}

/// Writes `content` to `fresh`, then renames `place` to `before` and `fresh` to `place`.
fn put(folder: &Path, content: Content<'_>, [place, before, fresh]: [&str; 3]) -> Result<()> {
    if !folder.is_dir() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        sync_parent(folder)?;
    }
    let fresh = folder.join(format!("{fresh}{}", std::process::id()));
    let (latest, previous) = (folder.join(place), folder.join(before));
    remove(&fresh)?;
    fs::create_dir(&fresh).map_err(Error::io(&fresh))?;
    let written = write(&fresh, content).and_then(|()| sync(folder));
    if written.is_err() {
        let _ = remove(&fresh);
    }
    written?;
    if latest.exists() {
        remove(&previous)?;
        fs::rename(&latest, &previous).map_err(Error::io(&latest))?;
    }
    fs::rename(&fresh, &latest).map_err(Error::io(&latest))?;
    sync(folder)
}

fn write(folder: &Path, content: Content<'_>) -> Result<()> {
    let Content { state, progress, row, best, since_best } = content;
    let mut files = Vec::new();
    for (name, prefix) in FILES {
        let tensors: Vec<(&str, Tensor)> = state
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, tensor)| (name, tensor.detach().to_device(Device::Cpu).contiguous()))
            .collect();
        // A run without an average has no file for it.
        if !tensors.is_empty() {
            let path = folder.join(name);
            Tensor::write_safetensors(&tensors, &path)?;
            sync(&path)?;
            files.push(FileRecord::of(&path, name)?);
        }
    }
    // The manifest comes last: a folder without one is unfinished.
    Manifest { since_best, progress, row, best, files }.write(folder)?;
    sync(folder)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}

/// The checkpoints that were not renamed to their place.
fn aside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(ASIDE)).map(|e| e.path()).collect();
    paths.sort();
    paths
}

/// The best weights of a run; `None` where there are none.
pub(super) fn load_best(folder: &Path) -> Result<Option<Checkpoint>> {
    let look = || {
        let places = [folder.join("best"), folder.join(BEST_BEFORE)];
        let found = places.iter().find(|place| place.exists());
        // Best weights are either the average or, without one, the live weights.
        found.map(|place| read(place, &["weights.", AVERAGE])).transpose()
    };
    // A run that is saving renames folders while they are read: only real damage remains at a second attempt.
    look().or_else(|_| look())
}

/// Removes the best weights.
pub(super) fn remove_best(folder: &Path) -> Result<()> {
    ["best", BEST_BEFORE].iter().try_for_each(|name| remove(&folder.join(name)))
}

/// Whether there is a checkpoint, whole or damaged.
pub(super) fn is_there(folder: &Path) -> bool {
    ["latest", "previous"].iter().any(|name| folder.join(name).exists()) || !aside(folder).is_empty()
}

/// The newest whole checkpoint; `None` where there is none at all.
pub(super) fn load(folder: &Path) -> Result<Option<Checkpoint>> {
    match newest(folder) {
        Ok(Some(checkpoint)) if checkpoint.damaged.is_empty() => Ok(Some(checkpoint)),
        Ok(None) => Ok(None),
        // A run that is saving renames folders while they are read: only real damage remains at a second attempt.
        _ => newest(folder),
    }
}

fn newest(folder: &Path) -> Result<Option<Checkpoint>> {
    let mut places = vec![folder.join("latest")];
    places.extend(aside(folder).into_iter().filter(|path| path.join(manifest::NAME).exists()));
    places.extend(Some(folder.join("previous")).filter(|path| path.exists()));
    if places.len() == 1 && !places[0].exists() {
        return Ok(None);
    }
    let mut damaged = Vec::new();
    for place in &places {
        match read(place, &["weights."]) {
            Ok(checkpoint) => return Ok(Some(Checkpoint { damaged, ..checkpoint })),
            Err(error) => damaged.push(error),
        }
    }
    let reasons: Vec<String> = damaged.iter().map(Error::to_string).collect();
    let problem = format!("no checkpoint is whole ({}); remove this folder to start anew", reasons.join("; "));
    Err(Error::format(folder, problem))
}

/// Reads a checkpoint, which must have tensors under one of the prefixes `weights`.
fn read(folder: &Path, weights: &[&str]) -> Result<Checkpoint> {
    if !folder.is_dir() {
        return Err(Error::format(folder, "the checkpoint is missing"));
    }
    let Manifest { since_best, progress, row, best, files } = Manifest::read(folder)?;
    let mut state = NamedTensors::new();
    for file in &files {
        let path = folder.join(&file.name);
        let Some((_, prefix)) = FILES.iter().find(|(name, _)| *name == file.name) else {
            return Err(Error::format(&path, "not a file of a checkpoint"));
        };
        let content = file.read(&path)?;
        let wrong = || Error::format(&path, "not a whole checkpoint file: not safetensors");
        let tensors = SafeTensors::deserialize(&content).map_err(|_| wrong())?;
        for (name, view) in tensors.tensors() {
            if !name.starts_with(prefix) || state.get(&name).is_some() {
                return Err(Error::format(&path, format!("the tensor `{name}` does not belong in this file")));
            }
            state.insert(name, Tensor::try_from(view).map_err(|_| wrong())?);
        }
    }
    if !state.iter().any(|(name, _)| weights.iter().any(|prefix| name.starts_with(prefix))) {
        return Err(Error::format(folder, "the checkpoint has no weights"));
    }
    Ok(Checkpoint { state, progress, row, best, since_best, damaged: Vec::new() })
}
