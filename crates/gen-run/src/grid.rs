//! Pictures of samples: grids of images, and plots of tabular data.

use std::path::Path;

use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use tch::{Kind, Tensor};

use gen_core::data::signed_to_bytes;
use gen_core::{Error, Result};

use crate::picture::save_picture;

/// Black pixels between the images of a grid.
const GAP: u32 = 2;
/// Images with a shorter side are enlarged by a whole factor.
const SMALLEST: u32 = 28;
/// The side of a scatter plot and the width of a histogram, in pixels.
const CANVAS: u32 = 480;
/// The colour of points and bars.
const INK: [u8; 3] = [20, 60, 120];

/// The number of bins of a histogram.
const BINS: u32 = 60;
/// The height of a histogram, in pixels.
const HEIGHT: u32 = 240;

/// Writes samples as one picture, in the format of the file's extension: images `[n, channels, height, width]` in [-1,
/// 1] in rows of `columns`; tabular data `[n, dimension]` as a scatter plot of its first two columns, `[n, 1]` as a
/// histogram. The channels of images with neither 1 nor 3 of them stand side by side.
///
/// # Errors
/// When the shape is another, or the file cannot be written.
pub fn save_grid(x: &Tensor, path: &Path, columns: usize) -> Result<()> {
    let picture = match x.size()[..] {
        [_, channels, height, width] if channels.min(height).min(width) > 0 => {
            image_grid(&grey_or_colour(x), columns.max(1) as u32)?
        }
        [_, 1] => histogram(x)?,
        [_, dimension] if dimension >= 2 => scatter(x)?,
        _ => {
            return Err(Error::invalid(format!(
                "a grid takes images [n, channels, height, width] or tabular data [n, dimension], found {:?}",
                x.size()
            )));
        }
    };
    save_picture(&picture, path)
}

/// Writes each image of `[n, channels, height, width]` in [-1, 1] as a PNG in `folder`, which must exist. The names are
/// numbers from `first`, with as many digits as `total` has. Channels are as in [`save_grid`].
///
/// # Errors
/// When the shape is another, or a file cannot be written.
pub fn save_each(x: &Tensor, folder: &Path, first: usize, total: usize) -> Result<()> {
    if x.dim() != 4 {
        return Err(Error::invalid(format!(
            "a folder of pictures takes images [n, channels, height, width], found {:?}",
            x.size()
        )));
    }
    let x = grey_or_colour(x);
    let (channels, height, width) = (x.size()[1] as u32, x.size()[2] as u32, x.size()[3] as u32);
    let bytes = to_host(&signed_to_bytes(&x).permute([0, 2, 3, 1]))?;
    for (i, pixels) in bytes.chunks((channels * height * width) as usize).enumerate() {
        let digits = total.to_string().len();
        let path = folder.join(format!("{:0digits$}.png", first + i));
        let color = if channels == 1 { image::ColorType::L8 } else { image::ColorType::Rgb8 };
        image::save_buffer_with_format(&path, pixels, width, height, color, ImageFormat::Png)
            .map_err(Error::file(&path))?;
    }
    Ok(())
}

/// Images `x: [n, channels, height, width]` with 1 or 3 channels as they are; others as grey images with their channels
/// side by side.
pub fn grey_or_colour(x: &Tensor) -> Tensor {
    match x.size()[..] {
        [n, channels, height, width] if channels != 1 && channels != 3 => {
            x.permute([0, 2, 1, 3]).reshape([n, 1, height, channels * width])
        }
        _ => x.shallow_clone(),
    }
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

/// The ends of the middle 99.8 % of the finite values in each of the first `axes` columns; 0 and 0 where none is
/// finite.
fn window(x: &Tensor, axes: i64) -> Vec<(f64, f64)> {
    let ends = (0..axes).map(|axis| {
        let column = x.select(1, axis);
        let (values, _) = column.masked_select(&column.isfinite()).sort(0, false);
        let last = values.numel() as f64 - 1.0;
        let at = |share: f64| values.double_value(&[(share * last).round() as i64]);
        if last < 0.0 { (0.0, 0.0) } else { (at(0.001), at(0.999)) }
    });
    ends.collect()
}

/// The side of a window around these ends, large enough that double precision resolves places in it.
fn side(ends: &[(f64, f64)]) -> f64 {
    let largest = ends.iter().map(|(low, high)| high.abs().max(low.abs())).fold(0.0, f64::max);
    let side = ends.iter().map(|(low, high)| high - low).fold(0.0, f64::max) * 1.1;
    if side > 1e-12 * largest && side.is_finite() { side } else { largest.clamp(1.0, f64::MAX / 4.0) }
}

/// Draws the middle 99.8 % of the values, with a margin.
fn histogram(x: &Tensor) -> Result<RgbImage> {
    let x = x.to_kind(Kind::Double).to_device(tch::Device::Cpu);
    let ends = window(&x, 1);
    let side = side(&ends);
    let low = 0.5 * ends[0].0 + 0.5 * ends[0].1 - 0.5 * side;
    let mut counts = vec![0u32; BINS as usize];
    for place in Vec::<f64>::try_from((x.select(1, 0) - low) / side * f64::from(BINS))? {
        if (0.0..f64::from(BINS)).contains(&place) {
            counts[place as usize] += 1;
        }
    }
    let highest = counts.iter().copied().max().unwrap_or(0).max(1);
    Ok(RgbImage::from_fn(CANVAS, HEIGHT, |u, v| {
        let count = counts[(u * BINS / CANVAS) as usize];
        let filled = f64::from(count) / f64::from(highest) * f64::from(HEIGHT - 10);
        Rgb(if f64::from(HEIGHT - v) <= filled { INK } else { [255; 3] })
    }))
}

/// Draws points as darkness on white, in a window around the middle 99.8 % of each column, with a margin.
fn scatter(x: &Tensor) -> Result<RgbImage> {
    let x = x.narrow(1, 0, 2).to_kind(Kind::Double).to_device(tch::Device::Cpu);
    let window = window(&x, 2);
    let mut pixels = Vec::new();
    // One scale for both axes, so that circles stay round.
    let side = side(&window);
    for (axis, (low, high)) in window.iter().enumerate() {
        let start = 0.5 * low + 0.5 * high - 0.5 * side;
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
    Ok(RgbImage::from_fn(CANVAS, CANVAS, |u, v| {
        let weight = f64::from(darkness.get_pixel(u, v).0[0]) / 255.0;
        Rgb(INK.map(|channel| (255.0 + weight * (f64::from(channel) - 255.0)) as u8))
    }))
}

fn to_host(bytes: &Tensor) -> Result<Vec<u8>> {
    Ok(Vec::<u8>::try_from(bytes.to_device(tch::Device::Cpu).contiguous().reshape([-1]))?)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use gen_core::rng::Generator;

    #[test]
    fn every_shape_of_data_has_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let rng = Generator::seeded(0);
        let drawn = |name: &str, shape: &[i64], size: (u32, u32)| {
            let path = folder.path().join(name);
            save_grid(&rng.randn(shape, (Kind::Float, Device::Cpu)), &path, 2).unwrap();
            let picture = image::open(&path).unwrap().into_rgb8();
            assert_eq!(picture.dimensions(), size, "{shape:?}");
            let first = *picture.get_pixel(0, 0);
            assert!(picture.pixels().any(|pixel| *pixel != first), "{shape:?} is one colour");
        };
        drawn("one.png", &[50, 1], (CANVAS, HEIGHT));
        drawn("two.jpg", &[50, 2], (CANVAS, CANVAS));
        drawn("many.webp", &[50, 200], (CANVAS, CANVAS));
        drawn("pixel.GIF", &[4, 1, 1, 1], (62, 62));
        drawn("planes.png", &[2, 2, 7, 7], (2 * 56 + 6, 28 + 4));
        drawn("rgba.png", &[1, 4, 28, 3], (4 * 3 * 3 + 4, 84 + 4));
        let empty = save_grid(&Tensor::zeros([4, 0], (Kind::Float, Device::Cpu)), "x.png".as_ref(), 2);
        assert!(empty.unwrap_err().to_string().contains("found [4, 0]"));
    }

    #[test]
    fn values_that_are_constant_or_not_finite_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let rows: [&[f64]; 5] = [
            &[f64::NAN; 4],
            &[f64::INFINITY, 0.0, 1.0, f64::NEG_INFINITY],
            &[3.0; 4],
            &[f64::MAX, f64::MIN, 0.0, 1.0],
            &[2_451_545.0, 2_451_545.1, 2_451_545.2, 2_451_545.3],
        ];
        for (i, row) in rows.into_iter().enumerate() {
            let x = Tensor::from_slice(row);
            for shape in [[4, 1], [2, 2]] {
                save_grid(&x.view(shape), &folder.path().join(format!("{i}.png")), 2).unwrap();
            }
        }
    }

    #[test]
    fn the_extension_is_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let x = Tensor::zeros([1, 3, 8, 8], (Kind::Float, Device::Cpu));
        for (name, magic) in
            [("a.PNG", &b"\x89PNG"[..]), ("a.Jpeg", b"\xff\xd8\xff"), ("a.webp", b"RIFF"), ("a.gif", b"GIF8")]
        {
            save_grid(&x, &folder.path().join(name), 8).unwrap();
            assert!(std::fs::read(folder.path().join(name)).unwrap().starts_with(magic), "{name}");
        }
    }
}
