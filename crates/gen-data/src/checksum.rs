use sha2::{Digest, Sha256};

/// SHA-256 of `bytes`, 64 hexadecimal digits in small letters, as in manifests.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// One checksum for several files `(name, checksum)`: the SHA-256 of what `sha256sum` prints for them.
pub(crate) fn sha256_of_list<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut checksum = Sha256::new();
    for (name, sha256) in files {
        checksum.update(format!("{sha256}  {name}\n"));
    }
    hex::encode(checksum.finalize())
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
    fn a_list_has_the_checksum_of_the_output_of_sha256sum() {
        // printf abc > abc; sha256sum abc | sha256sum
        let list = "c32c110b2834d02b24bc526c30104802e185619f83437476d29715655b42941d";
        assert_eq!(sha256_of_list([("abc", sha256(b"abc").as_str())]), list);
    }
}
