//! Pictures that the commands draw: images side by side, charts of points, text, animations.

pub(crate) mod canvas;
pub(crate) mod chart;
pub(crate) mod colour;
pub(crate) mod histogram;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::bail;
use gen_core::Error;
use gen_core::data::signed_to_bytes;
use gen_run::{grid, save_picture, write_atomically};
use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Delay, ExtendedColorType, Frame, ImageEncoder, RgbImage};
use tch::{Device, Kind, Tensor};

use self::canvas::{blank, paste};

/// The side of the smallest image in a picture; smaller ones are enlarged by a whole factor.
const SMALLEST: u32 = 48;

/// Each image of `x: [n, channels, height, width]` in [-1, 1], enlarged so that it can be seen. The channels of
/// images that are neither grey nor in colour stand side by side.
pub(crate) fn tiles(x: &Tensor) -> anyhow::Result<Vec<RgbImage>> {
    if x.dim() != 4 {
        bail!("pictures are made of images [n, channels, height, width], found {:?}", x.size());
    }
    let x = grid::grey_or_colour(&x.to_device(Device::Cpu));
    let (channels, height, width) = (x.size()[1], x.size()[2], x.size()[3]);
    let bytes = signed_to_bytes(&x).permute([0, 2, 3, 1]).contiguous().view([-1]);
    let bytes = Vec::<u8>::try_from(bytes)?;
    let (channels, height, width) = (channels as usize, height as u32, width as u32);
    let zoom = SMALLEST.div_ceil(height.min(width).max(1));
    let tile = |pixels: &[u8]| {
        RgbImage::from_fn(width * zoom, height * zoom, |u, v| {
            let at = (v / zoom * width + u / zoom) as usize * channels;
            image::Rgb([0, 1, 2].map(|i| pixels[at + i.min(channels - 1)]))
        })
    };
    Ok(bytes.chunks_exact((channels as u32 * height * width) as usize).map(tile).collect())
}

/// A frame of an animation is at least about as wide as this.
const ANIMATED: u32 = 240;

/// Tiles of one size side by side for an animation, in about as many rows as columns, enlarged by a whole factor where
/// there are few, with `gap` pixels between them.
pub(crate) fn grid(tiles: &[RgbImage], gap: u32) -> RgbImage {
    let columns = (tiles.len() as f64).sqrt().ceil().max(1.0) as u32;
    let rows = (tiles.len() as u32).div_ceil(columns);
    let (width, height) = tiles.first().map_or((1, 1), RgbImage::dimensions);
    let zoom = (ANIMATED / (columns * width)).max(1);
    let (width, height) = (zoom * width, zoom * height);
    let mut picture = blank(columns * (width + gap) + gap, rows * (height + gap) + gap);
    for (i, tile) in (0..).zip(tiles) {
        let tile = image::imageops::resize(tile, width, height, image::imageops::FilterType::Nearest);
        paste(&mut picture, &tile, gap + i % columns * (width + gap), gap + i / columns * (height + gap));
    }
    picture
}

/// Writes samples as one picture: numbers `[n, 1]` as a histogram with the `names` of the sets, all else as
/// [`grid::save_grid`] does, of the first set alone.
pub(crate) fn save_samples(title: &str, sets: &[(&str, &Tensor)], path: &Path, columns: usize) -> anyhow::Result<()> {
    let Some((_, first)) = sets.first() else { bail!("there are no samples to draw") };
    if first.dim() != 2 || first.size()[1] != 1 {
        grid::save_grid(&first.to_device(Device::Cpu), path, columns)?;
        return Ok(());
    }
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (name, x) in sets {
        names.push((*name).to_owned());
        values.push(Vec::<f64>::try_from(x.select(1, 0).to_kind(Kind::Double).to_device(Device::Cpu))?);
    }
    Ok(save_picture(&histogram::histogram(title, "value", &names, &values)?, path)?)
}

/// How many bytes each image of `x: u8 [n, channels, height, width]` takes as a PNG file of the smallest size. The
/// channels of images that are neither grey nor in colour stand side by side.
pub(crate) fn png_lengths(x: &Tensor) -> anyhow::Result<Vec<usize>> {
    if x.dim() != 4 {
        bail!("PNG files hold images [n, channels, height, width], found {:?}", x.size());
    }
    let x = grid::grey_or_colour(x);
    let (channels, height, width) = (x.size()[1], x.size()[2], x.size()[3]);
    let bytes = Vec::<u8>::try_from(x.to_device(Device::Cpu).permute([0, 2, 3, 1]).contiguous().view([-1]))?;
    let colour = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let length = |pixels: &[u8]| -> anyhow::Result<usize> {
        let mut file = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut file, CompressionType::Best, FilterType::Adaptive);
        encoder.write_image(pixels, width as u32, height as u32, colour)?;
        Ok(file.len())
    };
    bytes.chunks_exact((channels * height * width) as usize).map(length).collect()
}

/// An animation without end, each frame of which is shown for so many milliseconds.
pub(crate) fn save_gif(frames: Vec<(RgbImage, u32)>, path: &Path) -> anyhow::Result<()> {
    write_atomically(path, |temporary| {
        let failed = |error: image::ImageError| Error::file(path)(error);
        let mut file = BufWriter::new(File::create(temporary).map_err(Error::io(path))?);
        {
            let mut encoder = GifEncoder::new_with_speed(&mut file, 10);
            encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
            for (frame, milliseconds) in frames {
                let frame = image::DynamicImage::ImageRgb8(frame).into_rgba8();
                let delay = Delay::from_numer_denom_ms(milliseconds, 1);
                encoder.encode_frame(Frame::from_parts(frame, 0, 0, delay)).map_err(failed)?;
            }
        }
        file.flush().map_err(Error::io(path))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_are_enlarged() {
        let x = Tensor::from_slice(&[-1.0f32, 1.0, 1.0, 0.0]).view([1, 1, 2, 2]);
        let tile = tiles(&x).unwrap().remove(0);
        assert_eq!(tile.dimensions(), (48, 48));
        assert_eq!([(0, 0), (24, 0), (47, 47)].map(|(u, v)| tile.get_pixel(u, v).0[1]), [0, 255, 128]);
        let planes = tiles(&Tensor::zeros([1, 2, 8, 8], (Kind::Float, Device::Cpu))).unwrap();
        assert_eq!((planes.len(), planes[0].dimensions()), (1, (96, 48)));
        assert!(tiles(&Tensor::zeros([1, 2], (Kind::Float, Device::Cpu))).is_err());
    }

    #[test]
    fn a_simple_picture_takes_fewer_bytes() {
        let grey = Tensor::full([2, 3, 16, 16], 7, (Kind::Uint8, Device::Cpu));
        let noise = (Tensor::arange(768, (Kind::Double, Device::Cpu)).square() * 0.7).sin() * 127.0 + 128.0;
        let noise = noise.to_kind(Kind::Uint8).view([1, 3, 16, 16]);
        let lengths = png_lengths(&Tensor::cat(&[grey, noise], 0)).unwrap();
        assert!(lengths[0] == lengths[1] && lengths[0] < 150 && lengths[2] > 700, "{lengths:?}");
        assert_eq!(png_lengths(&Tensor::zeros([1, 2, 8, 8], (Kind::Uint8, Device::Cpu))).unwrap().len(), 1);
        assert!(png_lengths(&Tensor::zeros([1, 2], (Kind::Uint8, Device::Cpu))).is_err());
    }
}
