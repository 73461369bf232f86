//! The text of a table from its bytes.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// The text of a file, and a note where its encoding was a guess.
///
/// UTF-8 is recognised, and UTF-16 by its byte order mark or its zero bytes. Anything else is read as Windows-1252, in
/// which every file is valid.
///
/// # Errors
/// When the file is not text.
pub(super) fn decode(bytes: &[u8]) -> Result<(Cow<'_, str>, Option<String>), String> {
    if let Some(problem) = other_format(bytes) {
        return Err(problem.to_owned());
    }
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        let (text, _, is_damaged) = encoding.decode(bytes);
        let note = is_damaged.then(|| format!("it holds bytes that are not {}; they were replaced", encoding.name()));
        return Ok((text, note));
    }
    if let Some(encoding) = utf_16_without_mark(bytes) {
        let (text, _) = encoding.decode_without_bom_handling(bytes);
        return Ok((text, Some(format!("it has no byte order mark, and was read as {}", encoding.name()))));
    }
    if bytes.contains(&0) {
        return Err("it holds zero bytes, which text does not have: it is not a CSV file".to_owned());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((Cow::Borrowed(text), None)),
        Err(_) => {
            let (text, _) = WINDOWS_1252.decode_without_bom_handling(bytes);
            let note = "it is not UTF-8, and was read as Windows-1252; if a name looks wrong, save it as UTF-8";
            Ok((text, Some(note.to_owned())))
        }
    }
}

/// The message for a file of another format.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => Some("this is an archive or a workbook: save the sheet as CSV"),
        [0xd0, 0xcf, 0x11, 0xe0, ..] => Some("this is a workbook of Excel: save the sheet as CSV"),
        [0x1f, 0x8b, ..] => Some("this is compressed by gzip: decompress it first (gunzip)"),
        [b'P', b'A', b'R', b'1', ..] => Some("this is a Parquet file: save it as CSV"),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some("this is a NumPy array: write npy: instead of csv:"),
        _ => None,
    }
}

/// UTF-16 without a byte order mark: text in the Latin alphabet has a zero in every second byte.
fn utf_16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = &bytes[..bytes.len().min(1000) / 2 * 2];
    let zeros = |first: usize| start.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let most = (start.len() / 2) * 9 / 10;
    match (zeros(0), zeros(1)) {
        _ if start.is_empty() => None,
        (0, second) if second > 0 && second >= most => Some(UTF_16LE),
        (first, 0) if first > 0 && first >= most => Some(UTF_16BE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf_16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn encodings_are_recognised() {
        let text = "größe,x\n1,2\n";
        let utf_8 = text.as_bytes().to_vec();
        let marked = |mark: &[u8], bytes: Vec<u8>| [mark, &bytes].concat();
        for (bytes, is_noted) in [
            (utf_8.clone(), false),
            (marked(b"\xef\xbb\xbf", utf_8), false),
            (marked(b"\xff\xfe", utf_16(text, false)), false),
            (marked(b"\xfe\xff", utf_16(text, true)), false),
            (utf_16(text, false), true),
            (utf_16(text, true), true),
            (b"gr\xf6\xdfe,x\n1,2\n".to_vec(), true),
        ] {
            let (found, note) = decode(&bytes).unwrap();
            assert_eq!((found.as_ref(), note.is_some()), (text, is_noted), "{bytes:?}");
        }
        assert_eq!(decode(b"").unwrap().0, "");
    }

    #[test]
    fn files_that_are_not_text_are_named() {
        for (bytes, expected) in [
            (&b"PK\x03\x04..."[..], "workbook"),
            (b"\x1f\x8b\x08", "gunzip"),
            (b"PAR1", "Parquet"),
            (b"\x93NUMPY", "npy:"),
            (b"1,2\0,3\n", "zero bytes"),
        ] {
            assert!(decode(bytes).unwrap_err().contains(expected));
        }
    }
}
