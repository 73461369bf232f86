//! One safetensors file with weights, and settings in its metadata.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::{Device, Tensor};

use crate::config::Table;
use crate::error::{Error, Result};
use crate::params::NamedTensors;

/// The format of the file, in its metadata.
const FORMAT: &str = "1";

/// The settings in the metadata.
pub(super) struct Content {
    pub(super) model: String,
    pub(super) config: Table,
    pub(super) sampling: Table,
    pub(super) data: Table,
}

pub(super) fn write(path: &Path, content: &Content, weights: &NamedTensors) -> Result<()> {
    let mut parts = Vec::new();
    for (name, tensor) in weights.iter() {
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let kind = tensor.kind();
        let mut bytes = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        let shape: Vec<usize> = tensor.size().iter().map(|side| *side as usize).collect();
        parts.push((name.to_owned(), Dtype::try_from(kind)?, shape, bytes));
    }
    let views = parts.iter().map(|(name, kind, shape, bytes)| {
        TensorView::new(*kind, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(Error::file(path))?;
    let tables = [("config", &content.config), ("sampling", &content.sampling), ("data", &content.data)];
    let tables = tables.map(|(name, table)| (name.to_owned(), table.to_string()));
    let words = [("format", FORMAT), ("model", &content.model)].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let metadata: HashMap<String, String> = tables.into_iter().chain(words).collect();
    let bytes = safetensors::serialize(views, &Some(metadata)).map_err(Error::file(path))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // The first error is the one that matters.
        let _ = fs::remove_file(&temporary);
        Error::io(path)(error)
    })
}

pub(super) fn read(path: &Path) -> Result<(Content, NamedTensors)> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(Error::file(path))?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let text = |name: &str| {
        let missing = || Error::format(path, format!("not a fitted model: its metadata has no `{name}`"));
        metadata.get(name).cloned().ok_or_else(missing)
    };
    let format = text("format")?;
    if format != FORMAT {
        return Err(Error::format(path, format!("a fitted model of format {format}; this version reads {FORMAT}")));
    }
    let table = |name: &str| text(name)?.parse::<Table>().map_err(Error::file(path));
    let content =
        Content { model: text("model")?, config: table("config")?, sampling: table("sampling")?, data: table("data")? };
    let tensors = SafeTensors::deserialize(&bytes).map_err(Error::file(path))?;
    let tensors = tensors.tensors().into_iter();
    let weights = tensors.map(|(name, view)| Ok((name, Tensor::try_from(view)?))).collect::<Result<Vec<_>>>()?;
    Ok((content, weights.into_iter().collect()))
}
