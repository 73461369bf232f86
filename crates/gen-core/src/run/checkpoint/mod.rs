mod manifest;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use tch::{Device, Tensor};

use self::manifest::{FileRecord, Manifest};
use super::files::{sync, sync_parent};
use crate::error::{Error, Result};
use crate::params::NamedTensors;
use crate::train::{OpenRow, Progress};

/// The state of a run as it was saved.
#[derive(Debug)]
pub struct Checkpoint {
    /// What [`Trainer::restore`](crate::train::Trainer::restore) takes.
    pub state: NamedTensors,
    /// How far the run had come.
    pub progress: Progress,
    /// What [`Trainer::restore_row`](crate::train::Trainer::restore_row) takes.
    pub row: OpenRow,
    /// Later checkpoints that are not whole, and why; this one was read in their place.
    pub damaged: Vec<Error>,
}

impl Checkpoint {
    /// The weights to sample with: the average where one was kept, otherwise the live ones.
    pub fn sampling_weights(&self) -> NamedTensors {
        let averaged = self.part("ema.average.");
        if averaged.is_empty() { self.part("weights.") } else { averaged }
    }

    /// Whether the weights to sample with are a moving average.
    pub fn is_averaged(&self) -> bool {
        self.state.iter().any(|(name, _)| name.starts_with("ema.average."))
    }

    fn part(&self, prefix: &str) -> NamedTensors {
        let inside = |(name, tensor): (&str, &Tensor)| {
            name.strip_prefix(prefix).map(|rest| (rest.to_owned(), tensor.shallow_clone()))
        };
        self.state.iter().filter_map(inside).collect()
    }
}

/// The files of a checkpoint and the names of the tensors in each.
const FILES: [(&str, &str); 3] =
    [("weights.safetensors", "weights."), ("ema.safetensors", "ema."), ("training.safetensors", "training.")];

/// What a checkpoint that is being written is called, up to the number of the process.
const ASIDE: &str = "new-";

/// Writes a folder aside, then puts it in the place of `latest`, which becomes `previous`.
///
/// At every moment one of the three is whole and on the disk.
pub(super) fn save(folder: &Path, state: &NamedTensors, progress: Progress, row: OpenRow) -> Result<()> {
    if !folder.is_dir() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        sync_parent(folder)?;
    }
    let fresh = folder.join(format!("{ASIDE}{}", std::process::id()));
    let (latest, previous) = (folder.join("latest"), folder.join("previous"));
    remove(&fresh)?;
    fs::create_dir(&fresh).map_err(Error::io(&fresh))?;
    let written = write(&fresh, state, progress, row).and_then(|()| sync(folder));
    if written.is_err() {
        let _ = remove(&fresh);
    }
    written?;
    if latest.exists() {
        remove(&previous)?;
        fs::rename(&latest, &previous).map_err(Error::io(&latest))?;
    }
    fs::rename(&fresh, &latest).map_err(Error::io(&latest))?;
    sync(folder)?;
    // Those of processes that were killed.
    aside(folder).iter().try_for_each(|path| remove(path))
}

fn write(folder: &Path, state: &NamedTensors, progress: Progress, row: OpenRow) -> Result<()> {
    let mut files = Vec::new();
    for (name, prefix) in FILES {
        let tensors: Vec<(&str, Tensor)> = state
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, tensor)| (name, tensor.detach().to_device(Device::Cpu).contiguous()))
            .collect();
        // A run without an average has no file for it; a model always has weights.
        if !tensors.is_empty() {
            let path = folder.join(name);
            Tensor::write_safetensors(&tensors, &path)?;
            sync(&path)?;
            files.push(FileRecord::of(&path, name)?);
        }
    }
    // Last, so that a folder without a manifest was never finished.
    Manifest { progress, row, files }.write(folder)?;
    sync(folder)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}

/// The checkpoints that were written and not put in their place.
fn aside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(ASIDE))
        .map(|e| e.path())
        .collect();
    paths.sort();
    paths
}

/// The newest checkpoint that is whole; `None` where there is none at all.
pub(super) fn load(folder: &Path) -> Result<Option<Checkpoint>> {
    match newest(folder) {
        Ok(Some(checkpoint)) if checkpoint.damaged.is_empty() => Ok(Some(checkpoint)),
        Ok(None) => Ok(None),
        // A run that saves meanwhile renames folders under its reader: at a second look only damage is left.
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
        match read(place) {
            Ok(checkpoint) => return Ok(Some(Checkpoint { damaged, ..checkpoint })),
            Err(error) => damaged.push(error),
        }
    }
    let reasons: Vec<String> = damaged.iter().map(Error::to_string).collect();
    let problem =
        format!("no checkpoint is whole ({}); remove this folder to start anew", reasons.join("; "));
    Err(Error::format(folder, problem))
}

fn read(folder: &Path) -> Result<Checkpoint> {
    if !folder.is_dir() {
        return Err(Error::format(folder, "the checkpoint is missing"));
    }
    let Manifest { progress, row, files } = Manifest::read(folder)?;
    let mut state = NamedTensors::new();
    for file in &files {
        let path = folder.join(&file.name);
        let Some((_, prefix)) = FILES.iter().find(|(name, _)| *name == file.name) else {
            return Err(Error::format(&path, "not a file of a checkpoint"));
        };
        let content = file.read(&path)?;
        let wrong = |error: &dyn std::fmt::Display| {
            Error::format(&path, format!("not a whole checkpoint file: not safetensors ({error})"))
        };
        let tensors = SafeTensors::deserialize(&content).map_err(|error| wrong(&error))?;
        for (name, view) in tensors.tensors() {
            if !name.starts_with(prefix) || state.get(&name).is_some() {
                return Err(Error::format(&path, format!("the tensor `{name}` does not belong here")));
            }
            state.insert(name, Tensor::try_from(view).map_err(|error| wrong(&Error::from(error)))?);
        }
    }
    if !files.iter().any(|file| file.name == FILES[0].0) {
        return Err(Error::format(folder, "the checkpoint has no weights"));
    }
    Ok(Checkpoint { state, progress, row, damaged: Vec::new() })
}
