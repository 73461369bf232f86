use image::ImageFormat;

/// Checks that a picture is not cut off, for formats whose decoders fill in what is missing.
///
/// # Errors
/// When the file ends too early.
pub(super) fn check(format: ImageFormat, bytes: &[u8]) -> Result<(), String> {
    let is_whole = match format {
        ImageFormat::Jpeg => has_end_of_jpeg(bytes),
        ImageFormat::WebP => has_length_of_riff(bytes),
        ImageFormat::Gif => has_end_of_gif(bytes),
        _ => true,
    };
    if is_whole { Ok(()) } else { Err("the file is cut off before its end".to_owned()) }
}

/// Walks from marker to marker to the end of the image (ITU T.81, annex B). The content of segments is skipped, such as
/// an EXIF thumbnail with an end marker of its own.
fn has_end_of_jpeg(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let is_alone = |marker: u8| matches!(marker, 0x01 | 0xd0..=0xd8);
    let mut at = 0;
    while let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xff)) {
        at += offset;
        // Any number of 0xff may stand before a marker.
        while bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        let Some(marker) = bytes.get(at) else { return false };
        at += 1;
        match *marker {
            END => return true,
            // An escaped byte 0xff in the data of a scan.
            0 => {}
            marker if is_alone(marker) => {}
            _ => {
                let Some([high, low]) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([*high, *low])).max(2);
            }
        }
    }
    false
}

/// Compares the length of the file with the one in the header, which counts from byte 8.
fn has_length_of_riff(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    length.is_some_and(|length| bytes.len() as u64 >= u64::from(length) + 8)
}

/// Walks from block to block to the end of the first picture (GIF89a, appendix B).
fn has_end_of_gif(bytes: &[u8]) -> bool {
    const EXTENSION: u8 = 0x21;
    const PICTURE: u8 = 0x2c;
    let table = |packed: u8| if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) };
    let Some(packed) = bytes.get(10) else { return false };
    let mut at = 13 + table(*packed);
    while let Some(block) = bytes.get(at) {
        let is_picture = *block == PICTURE;
        match *block {
            EXTENSION => at += 2,
            PICTURE => {
                let Some(packed) = bytes.get(at + 9) else { return false };
                at += 10 + table(*packed) + 1;
            }
            _ => return false,
        }
        loop {
            match bytes.get(at) {
                None => return false,
                Some(0) => break,
                Some(length) => at += usize::from(*length) + 1,
            }
        }
        at += 1;
        if is_picture {
            return true;
        }
    }
    false
}
