//! State dicts of PyTorch (`.pth`, `.pt`), and `.safetensors`.
//!
//! Such files are untrusted. Nothing in them is executed, and sizes, offsets and strides are checked before they are
//! used. A file of PyTorch is a pickle that describes tensors, and the values of the tensors. Since PyTorch 1.6 they
//! are in a zip archive, before that they followed each other.

mod archive;
mod legacy;
mod pickle;
mod tensors;
#[cfg(test)]
mod tests;
mod value;

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use tch::Tensor;

use gen_core::params::NamedTensors;
use gen_core::{Error, Result};

/// Reads the tensors of a file: a state dict that `torch.save` wrote, or safetensors. The content tells the format.
///
/// ```no_run
/// let weights = gen_eval::state_dict::read("resnet.pth")?;
/// for (name, tensor) in weights.iter() {
///     assert!(!name.is_empty(), "{:?}", tensor.size());
/// }
/// # Ok::<(), gen_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Format`] when it has another format, is damaged, or holds other
/// values than named tensors.
pub fn read(path: impl AsRef<Path>) -> Result<NamedTensors> {
    let path = path.as_ref();
    parse(&fs::read(path).map_err(Error::io(path))?, path)
}

/// [`read`] for the content of a file; `path` is for messages.
///
/// # Errors
/// [`Error::Format`], as [`read`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<NamedTensors> {
    let tensors = match Format::of(bytes) {
        Some(Format::Zip) => archive::parse(bytes),
        Some(Format::Legacy) => legacy::parse(bytes),
        Some(Format::Safetensors) => safetensors(bytes),
        None => Err(format!(
            "expected a state dict of PyTorch's or safetensors, found {} bytes that begin with `{}`",
            bytes.len(),
            bytes[..bytes.len().min(16)].escape_ascii()
        )),
    };
    tensors.map_err(|problem| Error::format(path, problem))
}

/// The format of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The archive of PyTorch 1.6 and later.
    Zip,
    /// The format of PyTorch before 1.6.
    Legacy,
    /// Safetensors.
    Safetensors,
}

impl Format {
    /// The format of a file that begins with `head`, of which 16 bytes are enough.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PK\x03\x04") {
            return Some(Format::Zip);
        }
        if head.starts_with(&legacy::MAGIC) {
            return Some(Format::Legacy);
        }
        // Eight bytes hold the length of the header, at most a hundred megabytes; the header is a JSON object.
        let (length, header) = head.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*length) <= 100_000_000 && header.starts_with(b"{")).then_some(Format::Safetensors)
    }
}

fn safetensors(bytes: &[u8]) -> Result<NamedTensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| format!("not safetensors: {error}"))?;
    let read = |(name, view)| match Tensor::try_from(view) {
        Ok(tensor) => Ok((name, tensor)),
        Err(error) => Err(format!("the tensor `{name}`: {error}")),
    };
    file.tensors().into_iter().map(read).collect()
}
