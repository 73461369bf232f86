//! Pictures of samples: images side by side, points as a scatter plot.

use std::path::Path;

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use tch::{Kind, Tensor};

use super::write_atomically;
use crate::data::signed_to_bytes;
use crate::error::{Error, Result};

/// Black pixels between the images of a grid.
const GAP: u32 = 2;
/// The side of the smallest image in a grid; smaller ones are enlarged by a whole factor.
const SMALLEST: u32 = 28;
/// The side of a scatter plot.
const CANVAS: u32 = 480;

/// Writes samples as one PNG: images `[n, channels, height, width]` in [-1, 1] in rows of `columns`, points
/// `[n, dimension]` as a scatter plot of their first two coordinates.
///
/// # Errors
/// When the shape is another, or the file cannot be written.
pub fn save_grid(x: &Tensor, path: &Path, columns: usize) -> Result<()> {
    let picture = match x.size()[..] {
        [_, 1 | 3, _, _] => image_grid(x, columns.max(1) as u32)?,
        [_, dimension] if dimension >= 2 => scatter(x)?,
        _ => {
            return Err(Error::invalid(format!(
                "a grid takes images [n, 1 or 3, height, width] or points [n, 2 or more], found {:?}",
                x.size()
            )));
        }
    };
    write_atomically(path, |temporary| {
        let saved = picture.save_with_format(temporary, ImageFormat::Png);
        saved.map_err(|error| Error::format(path, error.to_string()))
    })
}

/// Writes each image of `[n, channels, height, width]` in [-1, 1] as a PNG of its own in `folder`, which is there. They
/// are numbered from `first`, in as many digits as `total` has.
///
/// # Errors
/// When the shape is another, or a file cannot be written.
pub fn save_each(x: &Tensor, folder: &Path, first: usize, total: usize) -> Result<()> {
    let [_, channels @ (1 | 3), height, width] = x.size()[..] else {
        return Err(Error::invalid(format!(
            "a folder of pictures takes images [n, 1 or 3, height, width], found {:?}",
            x.size()
        )));
    };
    let bytes = to_host(&signed_to_bytes(x).permute([0, 2, 3, 1]))?;
    let (width, height) = (width as u32, height as u32);
    for (i, pixels) in bytes.chunks((channels as u32 * height * width) as usize).enumerate() {
        let digits = total.to_string().len();
        let path = folder.join(format!("{:0digits$}.png", first + i));
        let color = if channels == 1 { image::ColorType::L8 } else { image::ColorType::Rgb8 };
        image::save_buffer_with_format(&path, pixels, width, height, color, ImageFormat::Png)
            .map_err(|error| Error::format(&path, error.to_string()))?;
    }
    Ok(())
}

fn image_grid(x: &Tensor, columns: u32) -> Result<RgbImage> {
    let (n, height, width) = (x.size()[0] as u32, x.size()[2] as u32, x.size()[3] as u32);
    let bytes = to_host(&signed_to_bytes(x).expand([-1, 3, -1, -1], false).permute([0, 2, 3, 1]))?;
    let columns = columns.min(n.max(1));
    let rows = n.div_ceil(columns);
    let zoom = SMALLEST.div_ceil(height.min(width).max(1));
    let cell = (width * zoom + GAP, height * zoom + GAP);
    let mut canvas = RgbImage::new(columns * cell.0 + GAP, rows * cell.1 + GAP);
    for (i, pixels) in (0..n).zip(bytes.chunks((3 * height * width) as usize)) {
        let (left, top) = (GAP + i % columns * cell.0, GAP + i / columns * cell.1);
        for y in 0..height * zoom {
            for x in 0..width * zoom {
                let at = (3 * (y / zoom * width + x / zoom)) as usize;
                canvas.put_pixel(left + x, top + y, Rgb([pixels[at], pixels[at + 1], pixels[at + 2]]));
            }
        }
    }
    Ok(canvas)
}

/// Points as darkness on white; the window holds the middle 99.8 % of each coordinate and a margin.
fn scatter(x: &Tensor) -> Result<RgbImage> {
    let x = x.narrow(1, 0, 2).to_kind(Kind::Double).to_device(tch::Device::Cpu);
    let quantiles = Tensor::from_slice(&[0.001, 0.999]);
    let mut pixels = Vec::new();
    let mut window = Vec::new();
    for axis in 0..2 {
        let column = x.select(1, axis).nan_to_num(0.0, 0.0, 0.0);
        let ends = Vec::<f64>::try_from(column.quantile(&quantiles, None, false, "linear"))?;
        window.push((ends[0], ends[1]));
    }
    // One scale for both axes, so that circles stay round.
    let side = window.iter().map(|(low, high)| high - low).fold(1e-9, f64::max) * 1.1;
    for (axis, (low, high)) in window.iter().enumerate() {
        let start = 0.5 * (low + high) - 0.5 * side;
        let place = (x.select(1, axis as i64) - start) / side * f64::from(CANVAS);
        pixels.push(Vec::<f64>::try_from(place)?);
    }
    let mut darkness = GrayImage::from_pixel(CANVAS, CANVAS, Luma([0]));
    let step = (20_000 / pixels[0].len().max(1)).clamp(24, 160) as u8;
    for (&u, &v) in pixels[0].iter().zip(&pixels[1]) {
        let v = f64::from(CANVAS) - v;
        for (du, dv) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
            let (u, v) = (u + du - 0.5, v + dv - 0.5);
            if (0.0..f64::from(CANVAS)).contains(&u) && (0.0..f64::from(CANVAS)).contains(&v) {
                let pixel = darkness.get_pixel_mut(u as u32, v as u32);
                pixel.0[0] = pixel.0[0].saturating_add(step);
            }
        }
    }
    let ink = [20u8, 60, 120];
    Ok(RgbImage::from_fn(CANVAS, CANVAS, |u, v| {
        let weight = f64::from(darkness.get_pixel(u, v).0[0]) / 255.0;
        Rgb(ink.map(|channel| (255.0 + weight * (f64::from(channel) - 255.0)) as u8))
    }))
}

fn to_host(bytes: &Tensor) -> Result<Vec<u8>> {
    Ok(Vec::<u8>::try_from(bytes.to_device(tch::Device::Cpu).contiguous().reshape([-1]))?)
}
