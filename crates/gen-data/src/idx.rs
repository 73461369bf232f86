//! IDX, the format of MNIST and its successors: a header of big-endian numbers, then bytes.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use tch::{Kind, Tensor};

use gen_core::{Error, Result};

use crate::fetch::decompressed;

/// Unsigned bytes in three dimensions.
const IMAGES: u32 = 0x0803;
/// Unsigned bytes in one dimension.
const LABELS: u32 = 0x0801;
/// The largest side accepted, beyond that of any data set.
const LARGEST: u32 = 1 << 28;

/// Reads grey images, `u8 [n, 1, height, width]`, from an IDX file, compressed with gzip or not.
///
/// # Errors
/// [`Error::Format`] when the file does not hold images, or has another length than its header says.
pub fn read_images(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    images(&mut *open(path)?, path)
}

/// Reads labels, `i64 [n]`, from an IDX file, compressed with gzip or not.
///
/// # Errors
/// [`Error::Format`] when the file does not hold labels, or has another length than its header says.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    labels(&mut *open(path)?, path)
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).map_err(Error::io(path))?;
    // A name that does not end in .gz, so that gzip is always undone.
    decompressed(BufReader::new(file), "").map_err(Error::io(path))
}

/// Reads images from a stream; `path` is for the messages.
pub(super) fn images(stream: &mut dyn Read, path: &Path) -> Result<Tensor> {
    let (size, bytes) = read::<3>(stream, path, IMAGES, "images")?;
    let [n, height, width] = size.map(i64::from);
    Ok(Tensor::from_slice(&bytes).view([n, 1, height, width]))
}

/// Reads labels from a stream; `path` is for the messages.
pub(super) fn labels(stream: &mut dyn Read, path: &Path) -> Result<Tensor> {
    let (_, bytes) = read::<1>(stream, path, LABELS, "labels")?;
    Ok(Tensor::from_slice(&bytes).to_kind(Kind::Int64))
}

fn read<const D: usize>(
    stream: &mut dyn Read,
    path: &Path,
    expected_magic: u32,
    what: &str,
) -> Result<([u32; D], Vec<u8>)> {
    let format = |problem: String| Error::format(path, problem);
    let cut_off = |found: u64, expected: u64| {
        format(format!("expected {expected} bytes of IDX {what}, found {found}: the file is cut off, fetch it again"))
    };
    let header_length = 4 + 4 * D as u64;
    let header = read_up_to(stream, header_length).map_err(|error| format(error.to_string()))?;
    let number = |i: usize| {
        let bytes = header.get(4 * i..4 * i + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let magic = number(0).ok_or_else(|| cut_off(header.len() as u64, header_length))?;
    if magic != expected_magic {
        return Err(format(format!(
            "not an IDX file of {what}: it starts with {magic:#010x}, expected {expected_magic:#010x}"
        )));
    }
    let mut size = [0; D];
    for (i, side) in size.iter_mut().enumerate() {
        *side = number(i + 1).ok_or_else(|| cut_off(header.len() as u64, header_length))?;
    }
    if size.contains(&0) || size.iter().any(|side| *side > LARGEST) {
        return Err(format(format!("an IDX file of {what} cannot have the size {size:?}")));
    }
    let expected = size.iter().try_fold(1u64, |product, side| product.checked_mul(u64::from(*side)));
    let expected = expected.ok_or_else(|| format(format!("IDX {what} of size {size:?} are too large")))?;
    // The buffer grows with the content, not with what the header says.
    let bytes = read_up_to(stream, expected).map_err(|error| format(error.to_string()))?;
    if (bytes.len() as u64) < expected {
        return Err(cut_off(header_length + bytes.len() as u64, header_length + expected));
    }
    let beyond = read_up_to(stream, 1).map_err(|error| format(error.to_string()))?;
    if !beyond.is_empty() {
        return Err(format(format!(
            "the file is longer than the {} bytes of IDX {what} of size {size:?}: fetch it again",
            header_length + expected
        )));
    }
    Ok((size, bytes))
}

fn read_up_to(stream: &mut dyn Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(magic: u32, size: &[u32], content: &[u8]) -> Vec<u8> {
        let header = [magic].into_iter().chain(size.iter().copied()).flat_map(u32::to_be_bytes);
        header.chain(content.iter().copied()).collect()
    }

    fn error(bytes: &[u8]) -> String {
        let error = images(&mut &bytes[..], Path::new("x")).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn images_and_labels_are_read() {
        let bytes = file(IMAGES, &[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let x = images(&mut &bytes[..], Path::new("x")).unwrap();
        assert_eq!(x, Tensor::arange(12, (Kind::Uint8, tch::Device::Cpu)).view([2, 1, 2, 3]) + 1);
        let y = labels(&mut &file(LABELS, &[3], &[7, 0, 255])[..], Path::new("y")).unwrap();
        assert_eq!(Vec::<i64>::try_from(y).unwrap(), [7, 0, 255]);
    }

    #[test]
    fn files_may_be_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = file(LABELS, &[2], &[3, 4]);
        for name in ["raw", "x.gz"] {
            let path = folder.path().join(name);
            let mut content = bytes.clone();
            if name == "x.gz" {
                let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                gz.write_all(&bytes).unwrap();
                content = gz.finish().unwrap();
            }
            std::fs::write(&path, content).unwrap();
            assert_eq!(Vec::<i64>::try_from(read_labels(&path).unwrap()).unwrap(), [3, 4]);
        }
    }

    #[test]
    fn bad_files_are_explained() {
        let good = file(IMAGES, &[2, 2, 2], &[0; 8]);
        assert!(error(&good[..20]).contains("expected 24 bytes of IDX images, found 20: the file is cut off"));
        assert!(error(&good[..7]).contains("expected 16 bytes of IDX images, found 7"));
        assert!(error(&[]).contains("found 0"));
        assert!(error(&[&good[..], &[0]].concat()).contains("longer than the 24 bytes"));
        let swapped = file(LABELS, &[8], &[0; 8]);
        assert!(error(&swapped).contains("starts with 0x00000801, expected 0x00000803"));
        assert!(error(b"<html>not here</html>").contains("not an IDX file of images"));
        assert!(error(&file(IMAGES, &[2, 0, 2], &[])).contains("cannot have the size"));
    }

    #[test]
    fn a_header_of_a_huge_size_costs_no_memory() {
        let huge = file(IMAGES, &[1 << 28, 1 << 16, 1 << 16], &[0; 8]);
        assert!(error(&huge).contains("cut off"));
        assert!(error(&file(IMAGES, &[1 << 28, 1 << 28, 1 << 28], &[0; 8])).contains("too large"));
        assert!(error(&file(IMAGES, &[u32::MAX, 1, 1], &[0; 8])).contains("cannot have the size"));
    }
}
