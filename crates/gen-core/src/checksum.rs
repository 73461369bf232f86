//! SHA-256, of data sets and of checkpoints.

use std::fmt::Write;
#[cfg(feature = "runs")]
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// SHA-256 of a stream, as it comes.
#[derive(Default)]
pub(crate) struct Checksum(Sha256);

impl Checksum {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 64 hexadecimal digits, in small letters.
    pub(crate) fn hex(self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in self.0.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

/// SHA-256 of `bytes` in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut checksum = Checksum::default();
    checksum.update(bytes);
    checksum.hex()
}

/// SHA-256 of what a reader gives, in hexadecimal, and how many bytes that was.
#[cfg(feature = "runs")]
pub(crate) fn sha256_of_reader(mut reader: impl Read) -> io::Result<(u64, String)> {
    let mut checksum = Checksum::default();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((size, checksum.hex())),
            Ok(n) => {
                checksum.update(&buffer[..n]);
                size += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One checksum for several files `(name, checksum)`: that of the list which `sha256sum` prints for them.
#[cfg(feature = "datasets")]
pub(crate) fn sha256_of_list<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut checksum = Checksum::default();
    for (name, sha256) in files {
        checksum.update(format!("{sha256}  {name}\n").as_bytes());
    }
    checksum.hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // FIPS 180-2, appendix B.1
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
    }

    #[test]
    #[cfg(feature = "datasets")]
    fn a_list_has_the_checksum_of_what_sha256sum_prints() {
        // printf abc > abc; sha256sum abc | sha256sum
        let list = "c32c110b2834d02b24bc526c30104802e185619f83437476d29715655b42941d";
        assert_eq!(sha256_of_list([("abc", sha256(b"abc").as_str())]), list);
    }

    #[test]
    #[cfg(feature = "runs")]
    fn a_stream_has_the_checksum_of_its_bytes() {
        let bytes = vec![7; 200_000];
        assert_eq!(sha256_of_reader(bytes.as_slice()).unwrap(), (200_000, sha256(&bytes)));
    }
}
