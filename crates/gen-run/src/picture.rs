use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ColorType, ExtendedColorType, ImageError, RgbImage};

use gen_core::{Error, Result};

use crate::files::write_atomically;

/// The format of a picture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Lossless.
    Png,
    /// Lossy, with hardly visible losses.
    Jpeg,
    /// Lossless.
    WebP,
    /// Up to 256 colours.
    Gif,
}

/// The quality of JPEG files, up to 100.
const QUALITY: u8 = 95;

impl PictureFormat {
    /// The format of a file's extension, in any case.
    ///
    /// ```
    /// use gen_run::PictureFormat;
    /// assert_eq!(PictureFormat::of("a.b/c.JPG".as_ref()), Some(PictureFormat::Jpeg));
    /// assert_eq!(PictureFormat::of("a.png/c".as_ref()), None);
    /// ```
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "png" => Some(PictureFormat::Png),
            "jpg" | "jpeg" => Some(PictureFormat::Jpeg),
            "webp" => Some(PictureFormat::WebP),
            "gif" => Some(PictureFormat::Gif),
            _ => None,
        }
    }

    fn encode(self, picture: &RgbImage, file: &mut impl Write) -> Result<(), ImageError> {
        let (width, height) = picture.dimensions();
        let (pixels, colour) = (picture.as_raw(), ColorType::Rgb8);
        let extended = ExtendedColorType::from(colour);
        match self {
            PictureFormat::Png => {
                image::ImageEncoder::write_image(PngEncoder::new(file), pixels, width, height, extended)
            }
            PictureFormat::Jpeg => JpegEncoder::new_with_quality(file, QUALITY).encode(pixels, width, height, extended),
            PictureFormat::WebP => WebPEncoder::new_lossless(file).encode(pixels, width, height, extended),
            PictureFormat::Gif => GifEncoder::new(file).encode(pixels, width, height, extended),
        }
    }
}

/// Writes a picture in the format of the file's extension, or as PNG without a known one.
///
/// # Errors
/// When the file cannot be written, or the picture is larger than its format allows.
pub fn save_picture(picture: &RgbImage, path: &Path) -> Result<()> {
    let format = PictureFormat::of(path).unwrap_or(PictureFormat::Png);
    write_atomically(path, |temporary| {
        let mut file = BufWriter::new(File::create(temporary).map_err(Error::io(path))?);
        format.encode(picture, &mut file).map_err(Error::file(path))?;
        file.flush().map_err(Error::io(path))
    })
}
