use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// SHA-256 of `bytes` in hexadecimal.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The number of bytes of a stream, and their SHA-256 in hexadecimal.
pub(crate) fn sha256_of_reader(mut reader: impl Read) -> io::Result<(u64, String)> {
    let mut checksum = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((size, hex::encode(checksum.finalize()))),
            Ok(n) => {
                checksum.update(&buffer[..n]);
                size += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_the_checksum_of_its_bytes() {
        let bytes = vec![7; 200_000];
        assert_eq!(sha256_of_reader(bytes.as_slice()).unwrap(), (200_000, sha256(&bytes)));
    }
}
