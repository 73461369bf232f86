use std::fmt::Write;

use sha2::{Digest, Sha256};

/// SHA-256 of a stream, as it comes.
#[derive(Default)]
pub(super) struct Checksum(Sha256);

impl Checksum {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 64 hexadecimal digits, in small letters.
    pub(super) fn hex(self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in self.0.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

/// SHA-256 of `bytes` in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut checksum = Checksum::default();
    checksum.update(bytes);
    checksum.hex()
}

/// One checksum for several files `(name, checksum)`: that of the list which `sha256sum` prints for them.
pub(super) fn sha256_of_list<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
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
        // printf abc > abc; sha256sum abc | sha256sum
        let list = "c32c110b2834d02b24bc526c30104802e185619f83437476d29715655b42941d";
        assert_eq!(sha256_of_list([("abc", abc)]), list);
    }
}
