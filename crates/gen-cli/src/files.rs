//! The files that commands write. Each appears whole or not at all.

use std::path::Path;

use gen_core::params::NamedTensors;
use gen_core::{Error, Result};
use gen_run::write_atomically;
use serde::Serialize;
use tch::{Device, Tensor};

/// Writes a file of these bytes.
pub(crate) fn write_bytes(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    write_atomically(path, |temporary| std::fs::write(temporary, bytes).map_err(Error::io(path)))
}

/// Writes a CSV file of `rows`, whose fields name the columns.
pub(crate) fn write_rows<T: Serialize>(path: &Path, rows: impl IntoIterator<Item = T>) -> Result<()> {
    let failed = |error: csv::Error| Error::file(path)(error);
    write_atomically(path, |temporary| {
        let mut writer = csv::Writer::from_path(temporary).map_err(failed)?;
        for row in rows {
            writer.serialize(row).map_err(failed)?;
        }
        writer.flush().map_err(Error::io(path))
    })
}

/// Writes a CSV file whose columns are known at run time only. The first row that is an error ends it.
pub(crate) fn write_table(
    path: &Path,
    header: &[String],
    rows: impl IntoIterator<Item = Result<Vec<String>>>,
) -> Result<()> {
    let failed = |error: csv::Error| Error::file(path)(error);
    write_atomically(path, |temporary| {
        let mut writer = csv::Writer::from_path(temporary).map_err(failed)?;
        writer.write_record(header).map_err(failed)?;
        for row in rows {
            writer.write_record(row?).map_err(failed)?;
        }
        writer.flush().map_err(Error::io(path))
    })
}

/// Writes a safetensors file.
pub(crate) fn write_tensors(path: &Path, tensors: &NamedTensors) -> Result<()> {
    let tensors: Vec<(&str, Tensor)> =
        tensors.iter().map(|(name, tensor)| (name, tensor.detach().to_device(Device::Cpu).contiguous())).collect();
    write_atomically(path, |temporary| Ok(Tensor::write_safetensors(&tensors, temporary)?))
}
