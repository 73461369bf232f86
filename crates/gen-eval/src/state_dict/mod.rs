//! Weights of others: state dicts that PyTorch saved (`.pth`, `.pt`), and `.safetensors`.
//!
//! Such files come from anywhere. Nothing in them is executed, and sizes, offsets and strides are checked before
//! they are used. A file of PyTorch's is a pickle that describes tensors, and their values: in a zip archive since
//! PyTorch 1.6, one after the other before that.

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

/// The tensors of a file: a state dict that `torch.save` wrote, or safetensors. What it is, its content tells.
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
/// [`Error::Io`] when the file cannot be read; [`Error::Format`] when it is of another kind, is damaged, or holds
/// anything but tensors by name.
pub fn read(path: impl AsRef<Path>) -> Result<NamedTensors> {
    let path = path.as_ref();
    parse(&fs::read(path).map_err(Error::io(path))?, path)
}

/// [`read`] of a file's content; `path` is for the messages.
///
/// # Errors
/// As [`read`], less those of reading.
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

/// What weights are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// An archive of PyTorch 1.6 or later.
    Zip,
    /// A file as PyTorch wrote them before 1.6.
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
        // The length of the header in eight bytes, no more than a hundred megabytes; the header is a JSON object.
        let (length, header) = head.split_first_chunk::<8>()?;
        (u64::from_le_bytes(*length) <= 100_000_000 && header.starts_with(b"{"))
            .then_some(Format::Safetensors)
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
