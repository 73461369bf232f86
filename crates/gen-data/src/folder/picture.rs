use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use super::whole;
use crate::checksum::sha256;

/// Channels that differ by at most this are grey: compression may make such a difference.
const GREY: u8 = 2;

/// A decoded picture: `side * side` bytes if grey, three times as many in colour.
pub(super) struct Picture {
    pub(super) bytes: Vec<u8>,
    pub(super) grey: bool,
    pub(super) sha256: String,
}

/// Width and height, from the header of the file.
pub(super) fn size(path: &Path) -> Option<(u32, u32)> {
    ImageReader::open(path).ok()?.with_guessed_format().ok()?.into_dimensions().ok()
}

/// Reads the central square of a picture, resized to `side`.
///
/// # Errors
/// When the file cannot be read to its end; the text says why.
pub(super) fn decode(path: &Path, side: u32) -> Result<Picture, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    let format = image::guess_format(&bytes).or_else(|_| ImageFormat::from_path(path));
    let format = format.map_err(|error| error.to_string())?;
    let image = open(&bytes, format).map_err(|error| error.to_string().replace('\n', " "))?;
    whole::check(format, &bytes)?;
    let image = over_white(image);
    let (width, height) = (image.width(), image.height());
    let short = width.min(height);
    if short == 0 {
        return Err("it has no pixels".to_owned());
    }
    let square = image.crop_imm((width - short) / 2, (height - short) / 2, short, short);
    let grey = is_grey(&square);
    let resized = if short == side { square } else { square.resize_exact(side, side, FilterType::CatmullRom) };
    let pixels = if grey { resized.into_luma8().into_raw() } else { resized.into_rgb8().into_raw() };
    Ok(Picture { bytes: pixels, grey, sha256: sha256(&bytes) })
}

fn open(bytes: &[u8], format: ImageFormat) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // A small file may declare a picture of any size.
    let mut limits = Limits::default();
    limits.max_image_width = Some(1 << 16);
    limits.max_image_height = Some(1 << 16);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether every pixel is grey, however the picture is stored.
fn is_grey(image: &DynamicImage) -> bool {
    let differ = |a: u8, b: u8| a.abs_diff(b) > GREY;
    !image.color().has_color()
        || !image.to_rgb8().pixels().any(|Rgb([r, g, b])| differ(*r, *g) || differ(*g, *b) || differ(*r, *b))
}

fn over_white(image: DynamicImage) -> DynamicImage {
    if !image.color().has_alpha() {
        return image;
    }
    let blend = |value: u8, alpha: u8| {
        let alpha = u32::from(alpha);
        ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let (width, height) = (image.width(), image.height());
    if image.color().has_color() {
        let rgba = image.into_rgba8();
        RgbImage::from_fn(width, height, |x, y| {
            let [r, g, b, a] = rgba.get_pixel(x, y).0;
            Rgb([r, g, b].map(|value| blend(value, a)))
        })
        .into()
    } else {
        let luma = image.into_luma_alpha8();
        GrayImage::from_fn(width, height, |x, y| {
            let [value, alpha] = luma.get_pixel(x, y).0;
            image::Luma([blend(value, alpha)])
        })
        .into()
    }
}
