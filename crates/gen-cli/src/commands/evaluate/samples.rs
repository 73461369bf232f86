//! Samples from elsewhere: an array, a table or a folder of pictures.

use std::path::Path;

use anyhow::{Context, bail};
use gen_core::data::{DataSpec, Place, Shape, not_finite};
use gen_core::number::fixed;
use gen_data::csv::CsvOptions;
use gen_data::{csv, folder, npy};
use tch::{Kind, Tensor};

use crate::arguments::Interval;
use crate::message;
use crate::progress::Work;

/// The share of the range by which values may lie outside it. Rounding in the last layer of a network may do that.
const SLACK: f64 = 0.02;
/// The largest difference between channels of a grey image. Compression causes small ones.
const GREY: f64 = 2.0;

/// Reads the samples of a `.npy` or `.csv` file or of a folder of pictures, in the form of data like `spec`: images as
/// `u8 [n, channels, height, width]`, points as `f64 [n, dimension]`.
pub(super) fn read(path: &Path, spec: &DataSpec, range: Option<Interval>) -> anyhow::Result<Tensor> {
    if !path.exists() {
        bail!("there is no file or folder {}", path.display());
    }
    match spec.shape {
        Shape::Image { channels, height, width } => images(path, [channels, height, width], range),
        Shape::Points { dimension } => points(path, spec, dimension, range),
    }
}

/// Reads points, `f64 [n, dimension]`.
fn points(path: &Path, spec: &DataSpec, dimension: i64, range: Option<Interval>) -> anyhow::Result<Tensor> {
    if path.is_dir() {
        bail!("{} is a folder: samples of `{}` are points, in a .npy or .csv file", path.display(), spec.name);
    }
    if range.is_some() {
        bail!("--range is for floating-point images; samples of `{}` are points", spec.name);
    }
    let x = if is_table(path) { table(path, spec)? } else { reading(path, || npy::read(path))? };
    let found = x.size();
    if found.len() != 2 || found[1] != dimension {
        bail!(
            "{} holds an array {found:?}; samples of `{}` are points of {dimension} coordinates, [n, {dimension}]",
            path.display(),
            spec.name
        );
    }
    if let Some(Place { row, column, value }) = not_finite(&x)? {
        bail!(
            "{}: row {}, {} (x[{row}, {column}]): {value} is not a finite number",
            path.display(),
            row + 1,
            spec.column(column)
        );
    }
    Ok(x)
}

/// Calls `read`, and shows the progress of reading `path`.
fn reading<T>(path: &Path, read: impl FnOnce() -> T) -> T {
    let _work = Work::on(format!("reading {}", path.display()));
    read()
}

fn is_table(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["csv", "tsv", "txt"].iter().any(|known| ending == *known)
}

/// Reads a table. Its columns are found by name if both the table and the data have names, otherwise by position.
fn table(path: &Path, spec: &DataSpec) -> anyhow::Result<Tensor> {
    let read = |columns: &[String]| {
        let options = CsvOptions { columns: columns.to_vec(), ..Default::default() };
        reading(path, || csv::read(path, &options))
    };
    let mut found = read(&[])?;
    let is_there = |name: &String| found.names.iter().filter(|known| *known == name).count() == 1;
    if !spec.columns.is_empty() && found.names != spec.columns && spec.columns.iter().all(is_there) {
        found = read(&spec.columns)?;
    } else if !spec.columns.is_empty() && !found.names.is_empty() && found.names != spec.columns {
        bail!(
            "{} has the columns {}; samples of `{}` have {}",
            path.display(),
            found.names.join(", "),
            spec.name,
            spec.columns.join(", ")
        );
    }
    for warning in &found.warnings {
        message::warn(warning);
    }
    Ok(found.x)
}

/// Reads images, `u8 [n, channels, height, width]`.
fn images(path: &Path, [channels, height, width]: [i64; 3], range: Option<Interval>) -> anyhow::Result<Tensor> {
    if !path.is_dir() && is_table(path) {
        bail!("{}: samples of images must be a .npy file or a folder of pictures", path.display());
    }
    let samples = match path.is_dir() {
        true => pictures(path, [height, width])?,
        false => reading(path, || npy::read(path))?,
    };
    let found = samples.size();
    let samples = match (found.len() == 4 && samples.kind() != Kind::Uint8, range) {
        (true, _) => bytes(&samples, range).with_context(|| path.display().to_string())?,
        (false, None) => samples,
        (false, Some(_)) => {
            bail!("--range is for floating-point images; {} holds {:?} {found:?}", path.display(), samples.kind())
        }
    };
    match (samples.size().get(1).copied(), channels) {
        (Some(1), wanted) if samples.dim() == 4 => Ok(samples.expand([-1, wanted, -1, -1], false).contiguous()),
        (Some(3), 1) if samples.dim() == 4 => grey(&samples)
            .with_context(|| format!("{} holds images in colour: samples of this data are grey", path.display())),
        _ => Ok(samples),
    }
}

/// Images with three equal channels as images with one channel; `None` if an image has a colour.
fn grey(x: &Tensor) -> Option<Tensor> {
    let channels = x.to_kind(Kind::Int);
    let spread = channels.amax([1].as_slice(), true) - channels.amin([1].as_slice(), true);
    (spread.max().double_value(&[]) <= GREY).then(|| x.narrow(1, 1, 1).contiguous())
}

/// Reads every picture of a folder. They must have the size of the data, since resizing would change the measurements.
fn pictures(path: &Path, [height, width]: [i64; 2]) -> anyhow::Result<Tensor> {
    let sizes = reading(path, || folder::sizes(path))?;
    let wrong = sizes.iter().find(|(w, h)| (i64::from(*w), i64::from(*h)) != (width, height) || w != h);
    if let Some((w, h)) = wrong {
        bail!(
            "{} holds pictures of {w}x{h} pixels; samples of this data are {width}x{height}, and must be square to be \
             given as pictures: resize them yourself, or give an .npy file",
            path.display()
        );
    }
    let read = reading(path, || folder::read(path, u32::try_from(height).ok()))?;
    for warning in &read.warnings {
        message::warn(warning);
    }
    Ok(read.rows.x)
}

/// Floating-point images as bytes, rounded as in a picture file.
fn bytes(x: &Tensor, range: Option<Interval>) -> anyhow::Result<Tensor> {
    if !bool::try_from(x.isfinite().all())? {
        let first = x.isfinite().logical_not().nonzero().int64_value(&[0, 0]);
        bail!("image {} (x[{first}]) holds values that are not finite numbers", first + 1);
    }
    let (least, most) = (x.min().double_value(&[]), x.max().double_value(&[]));
    let extent = format!("{} to {}", fixed(least, 3), fixed(most, 3));
    let Some(Interval { low, high }) = range else {
        bail!(
            "the values of floating-point images are from {extent}: give their range, --range 0,1 or --range=-1,1 or \
             --range 0,255"
        );
    };
    let slack = SLACK * (high - low);
    if !(least >= low - slack && most <= high + slack) {
        bail!("values from {extent} are outside of --range {low},{high}");
    }
    Ok(((x.to_kind(Kind::Float) - low) * (255.0 / (high - low))).round().clamp(0.0, 255.0).to_kind(Kind::Uint8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_the_bytes_of_a_picture_file() {
        let x = Tensor::from_slice(&[-1.0f32, -0.999, 0.0, 1.0, 1.001]).view([1, 1, 1, 5]);
        let range = Some(Interval { low: -1.0, high: 1.0 });
        assert_eq!(Vec::<u8>::try_from(bytes(&x, range).unwrap().flatten(0, -1)).unwrap(), [0, 0, 128, 255, 255]);
        assert!(bytes(&x, None).unwrap_err().to_string().contains("from -1.000 to 1.001"));
        let narrow = Some(Interval { low: 0.0, high: 1.0 });
        assert!(bytes(&x, narrow).unwrap_err().to_string().contains("outside of --range 0,1"));
        let broken = Tensor::from_slice(&[f32::NAN]).view([1, 1, 1, 1]);
        assert!(bytes(&broken, range).unwrap_err().to_string().contains("image 1 (x[0])"));
    }
}
