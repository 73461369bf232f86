//! The binary version of CIFAR-10: records of one label and 3 x 32 x 32 bytes in an archive.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use tch::{Kind, Tensor};

use gen_core::data::Split;
use gen_core::{Error, Result};

const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;
/// The largest number of records accepted in a file; the real ones have 10,000.
const LARGEST: usize = 100_000;

/// A file of records.
enum Batch {
    /// `data_batch_<number>.bin`
    Train(u32),
    /// `test_batch.bin`
    Test,
}

impl Batch {
    /// By the name without its ending; `None` for other files.
    fn named(stem: &str) -> Option<Self> {
        match stem.strip_prefix("data_batch_") {
            Some(number) => number.parse().ok().map(Batch::Train),
            None => (stem == "test_batch").then_some(Batch::Test),
        }
    }
}

/// Reads the training rows of all `data_batch_<number>.bin` in the order of their numbers, and the test rows of
/// `test_batch.bin`. Other files are passed over.
///
/// `path` is for the messages.
pub(super) fn read(archive: impl Read, path: &Path) -> Result<(Split, Split)> {
    let damaged = |error: std::io::Error| Error::format(path, format!("the archive is damaged: {error}"));
    let mut train = Vec::new();
    let mut test = None;
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.into_owned();
        let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(batch) = name.strip_suffix(".bin").and_then(Batch::named) else { continue };
        let mut bytes = Vec::new();
        let limit = (LARGEST * RECORD) as u64;
        entry.by_ref().take(limit).read_to_end(&mut bytes).map_err(damaged)?;
        let rows = records(&bytes).ok_or_else(|| {
            let found = bytes.len();
            Error::format(path, format!("{name} should hold records of {RECORD} bytes, found {found} bytes"))
        })?;
        match batch {
            Batch::Train(number) => train.push((number, rows)),
            Batch::Test => test = Some(rows),
        }
    }
    train.sort_by_key(|(number, _)| *number);
    let test = test.ok_or_else(|| Error::format(path, "the archive has no test_batch.bin"))?;
    if train.is_empty() {
        return Err(Error::format(path, "the archive has no data_batch_1.bin"));
    }
    let cat = |part: fn(&Split) -> Tensor| Tensor::cat(&train.iter().map(|t| part(&t.1)).collect::<Vec<_>>(), 0);
    let labels = cat(|rows| rows.labels().map(Tensor::shallow_clone).unwrap_or_default());
    Ok((Split::labelled(cat(|rows| rows.x.shallow_clone()), labels), test))
}

fn records(bytes: &[u8]) -> Option<Split> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return None;
    }
    let rows = Tensor::from_slice(bytes).view([-1, RECORD as i64]);
    let x = rows.narrow(1, 1, PIXELS as i64).reshape([-1, 3, 32, 32]);
    Some(Split::labelled(x, rows.select(1, 0).to_kind(Kind::Int64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), Default::default()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &content[..]).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    /// A record whose first red, green and blue pixels are the label's number times 1, 2 and 3.
    fn record(label: u8) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[0] = label;
        for channel in 0..3u8 {
            record[1 + 1024 * usize::from(channel)] = label * (channel + 1);
        }
        record
    }

    #[test]
    fn batches_come_in_the_order_of_their_numbers_and_other_files_are_passed_over() {
        let bytes = archive(&[
            ("batches.meta.txt", b"airplane".to_vec()),
            ("data_batch_10.bin", record(7)),
            ("data_batch_2.bin", record(5)),
            ("data_batch_1.bin", [record(3), record(4)].concat()),
            ("test_batch.bin", record(6)),
            ("._test_batch.bin", b"of another program".to_vec()),
        ]);
        let (train, test) = read(&bytes[..], Path::new("x")).unwrap();
        assert_eq!(Vec::<i64>::try_from(train.labels().unwrap()).unwrap(), [3, 4, 5, 7]);
        assert_eq!(train.x.size(), [4, 3, 32, 32]);
        let corner = train.x.select(2, 0).select(2, 0);
        assert_eq!(Vec::<u8>::try_from(corner.reshape([-1])).unwrap(), [3, 6, 9, 4, 8, 12, 5, 10, 15, 7, 14, 21]);
        assert_eq!(Vec::<i64>::try_from(test.labels().unwrap()).unwrap(), [6]);
    }

    #[test]
    fn bad_archives_are_explained() {
        let error = |bytes: &[u8]| read(bytes, Path::new("x")).unwrap_err().to_string();
        let cut = archive(&[("data_batch_1.bin", record(1)[..100].to_vec())]);
        assert_eq!(error(&cut), "x: data_batch_1.bin should hold records of 3073 bytes, found 100 bytes");
        assert_eq!(error(&archive(&[("data_batch_1.bin", record(1))])), "x: the archive has no test_batch.bin");
        assert_eq!(error(&archive(&[("test_batch.bin", record(1))])), "x: the archive has no data_batch_1.bin");
        let whole = archive(&[("test_batch.bin", record(1))]);
        assert!(error(&whole[..whole.len() / 2]).contains("the archive is damaged"));
        assert!(error(b"not an archive").contains("the archive is damaged"));
    }
}
