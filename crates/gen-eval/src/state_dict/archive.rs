//! The zip archives of PyTorch 1.6 and later: `NAME/data.pkl`, and a file `NAME/data/KEY` for each storage.

use std::io::{Cursor, Read};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::Pickle;
use super::tensors::{Storages, named};
use super::value::StorageRecord;
use gen_core::params::NamedTensors;

pub(super) fn parse(bytes: &[u8]) -> Result<NamedTensors, String> {
    let zip = ZipArchive::new(Cursor::new(bytes));
    let zip = zip.map_err(|error| format!("a damaged zip archive: {error}"))?;
    let folder = folder(&zip)?;
    let mut archive = Archive { zip, folder, left: bytes.len() };
    if archive.zip.index_for_name(&archive.inside("constants.pkl")).is_some() {
        return Err("it holds a TorchScript program, expected a state dict: save one with \
            torch.save(torch.jit.load(FILE).state_dict(), FILE)"
            .to_owned());
    }
    // Files from before PyTorch 2.1 do not tell their byte order, which is almost always little.
    let order = archive.entry("byteorder")?;
    if let Some(order) = order.filter(|order| order != b"little") {
        return Err(format!("its numbers are in the byte order `{}`, expected `little`", order.escape_ascii()));
    }
    let pickle = archive.entry("data.pkl")?.ok_or("the archive has no data.pkl")?;
    let pickle = Pickle::read(&pickle)?;
    named(&pickle, &mut Storages::new(|record| archive.storage(record)))
}

/// The folder of all files, with its slash: that of the only `data.pkl`.
fn folder(zip: &ZipArchive<Cursor<&[u8]>>) -> Result<String, String> {
    let mut folders = Vec::new();
    for name in zip.file_names_raw() {
        let folder = std::str::from_utf8(name).ok().and_then(|name| name.strip_suffix("data.pkl"));
        folders.extend(folder.filter(|folder| folder.is_empty() || folder.ends_with('/')));
    }
    match folders[..] {
        [folder] => Ok(folder.to_owned()),
        _ => Err(format!("a zip archive with {} files data.pkl, expected one: that of torch.save", folders.len())),
    }
}

struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
    /// Bytes that may still be read. Entries could claim to share bytes, so all together are limited by the file.
    left: usize,
}

impl Archive<'_> {
    fn inside(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// The content of a file of the archive, if it exists.
    fn entry(&mut self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("`{}` in the archive: {error}", name.escape_debug());
        let path = self.inside(name);
        let mut entry = match self.zip.by_name(&path) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(wrong(&error)),
        };
        if entry.compression() != CompressionMethod::Stored {
            return Err(wrong(&"it is compressed, which PyTorch does not do"));
        }
        let size = usize::try_from(entry.size()).ok().filter(|size| *size <= self.left);
        let size = size.ok_or_else(|| wrong(&format!("its {} bytes are more than the file has", entry.size())))?;
        self.left -= size;
        let mut content = Vec::with_capacity(size);
        entry.by_ref().take(size as u64 + 1).read_to_end(&mut content).map_err(|error| wrong(&error))?;
        if content.len() != size {
            return Err(wrong(&format!("it has {} bytes, expected {size}", content.len())));
        }
        Ok(Some(content))
    }

    fn storage(&mut self, record: &StorageRecord) -> Result<Vec<u8>, String> {
        let content = self.entry(&format!("data/{}", record.key))?;
        content.ok_or_else(|| format!("the archive has no data/{}", record.key.escape_debug()))
    }
}
