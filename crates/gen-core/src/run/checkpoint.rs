use std::fs;
use std::path::Path;

use tch::Tensor;

use super::files::{sync, sync_parent};
use crate::error::{Error, Result};
use crate::params::NamedTensors;
use crate::train::Progress;

/// The state of a run as it was saved.
#[derive(Debug)]
pub struct Checkpoint {
    /// What [`Trainer::restore`](crate::train::Trainer::restore) takes.
    pub state: NamedTensors,
    /// How far the run had come.
    pub progress: Progress,
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

/// Writes a folder aside, then puts it in the place of `latest`, which becomes `previous`.
pub(super) fn save(folder: &Path, state: &NamedTensors, progress: Progress) -> Result<()> {
    let fresh = folder.join(format!("new-{}", std::process::id()));
    let (latest, previous) = (folder.join("latest"), folder.join("previous"));
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).map_err(Error::io(&fresh))?;
    let written = write(&fresh, state, progress);
    if written.is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    written?;
    if latest.exists() {
        if previous.exists() {
            fs::remove_dir_all(&previous).map_err(Error::io(&previous))?;
        }
        fs::rename(&latest, &previous).map_err(Error::io(&latest))?;
    }
    fs::rename(&fresh, &latest).map_err(Error::io(&latest))?;
    sync_parent(&latest)
}

fn write(folder: &Path, state: &NamedTensors, progress: Progress) -> Result<()> {
    for (file, prefix) in FILES {
        let tensors: Vec<(&str, Tensor)> = state
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, tensor)| (name, tensor.detach().to_device(tch::Device::Cpu).contiguous()))
            .collect();
        if !tensors.is_empty() {
            let path = folder.join(file);
            Tensor::write_safetensors(&tensors, &path)?;
            sync(&path)?;
        }
    }
    let path = folder.join("progress.toml");
    let text = toml::to_string_pretty(&progress).map_err(|error| Error::format(&path, error.to_string()))?;
    fs::write(&path, text).map_err(Error::io(&path))?;
    sync(&path)?;
    sync_parent(&path)
}

/// The first of `latest` and `previous` that can be read whole; `None` where there is neither.
pub(super) fn load(folder: &Path) -> Result<Option<Checkpoint>> {
    let mut failure = None;
    for name in ["latest", "previous"] {
        let place = folder.join(name);
        if place.is_dir() {
            match read(&place) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    failure.map_or(Ok(None), Err)
}

fn read(folder: &Path) -> Result<Checkpoint> {
    let path = folder.join("progress.toml");
    let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
    let progress = toml::from_str(&text).map_err(|error: toml::de::Error| {
        Error::format(&path, format!("not a run's progress: {}", error.message()))
    })?;
    let mut state = NamedTensors::new();
    for (file, prefix) in FILES {
        let path = folder.join(file);
        // A run without an average has no file for it; a model always has weights.
        if !path.exists() && prefix != "weights." {
            continue;
        }
        let tensors = Tensor::read_safetensors(&path).map_err(|error| {
            Error::format(&path, format!("not a whole checkpoint file ({})", Error::from(error)))
        })?;
        for (name, tensor) in tensors {
            if !name.starts_with(prefix) || state.get(&name).is_some() {
                return Err(Error::format(&path, format!("the tensor `{name}` does not belong here")));
            }
            state.insert(name, tensor);
        }
    }
    Ok(Checkpoint { state, progress })
}
