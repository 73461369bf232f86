//! Samples from anywhere: an array, a table or a folder of pictures.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};
use gen_core::Error;
use gen_core::data::{DataSpec, Place, Shape, not_finite};
use gen_core::number::fixed;
use gen_data::csv::CsvOptions;
use gen_data::{csv, folder, npy};
use tch::{Kind, Tensor};

use crate::progress::Work;

/// What the values of floating-point images go from and to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    low: f64,
    high: f64,
}

impl FromStr for Range {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || Error::invalid(format!("--range takes two numbers like 0,1 or -1,1, found `{text}`"));
        let (low, high) = text.split_once(',').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        match (number(low), number(high)) {
            (Some(low), Some(high)) if low < high => Ok(Range { low, high }),
            _ => Err(wrong()),
        }
    }
}

/// How far values may lie outside of their range: what a network's last layer may do by rounding.
const SLACK: f64 = 0.02;
/// Channels that differ by no more than this are grey to the eye, and after compression.
const GREY: f64 = 2.0;

/// The samples of a `.npy` or `.csv` file or a folder of pictures, as data like `spec` has them.
pub(super) fn read(path: &Path, spec: &DataSpec, range: Option<Range>) -> anyhow::Result<Tensor> {
    if !path.exists() {
        bail!("there is no {}", path.display());
    }
    match spec.shape {
        Shape::Image { channels, height, width } => images(path, [channels, height, width], range),
        Shape::Points { dimension } => points(path, spec, dimension, range),
    }
}

/// Rows of numbers: `f64 [n, dimension]`.
fn points(path: &Path, spec: &DataSpec, dimension: i64, range: Option<Range>) -> anyhow::Result<Tensor> {
    if path.is_dir() {
        bail!(
            "{} is a folder: samples of `{}` are points, in a .npy or .csv file",
            path.display(),
            spec.name
        );
    }
    if range.is_some() {
        bail!("--range says what the values of floating-point images mean; `{}` are points", spec.name);
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

/// Does what may take a while with a file or a folder, and shows that it does.
fn reading<T>(path: &Path, read: impl FnOnce() -> T) -> T {
    let _work = Work::on(format!("reading {}", path.display()));
    read()
}

fn is_table(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["csv", "tsv", "txt"].iter().any(|known| ending == *known)
}

/// The columns of a table, found by their names where both it and the data have names, else as they come.
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
        crate::eprint(&format!("warning: {warning}"));
    }
    Ok(found.x)
}

/// Bytes `[n, channels, height, width]`.
fn images(path: &Path, [channels, height, width]: [i64; 3], range: Option<Range>) -> anyhow::Result<Tensor> {
    if !path.is_dir() && is_table(path) {
        bail!("{}: samples of images come as a .npy file or a folder of pictures", path.display());
    }
    let samples = match path.is_dir() {
        true => pictures(path, [height, width])?,
        false => reading(path, || npy::read(path))?,
    };
    let found = samples.size();
    let samples = match (found.len() == 4 && samples.kind() != Kind::Uint8, range) {
        (true, _) => bytes(&samples, range).with_context(|| path.display().to_string())?,
        (false, None) => samples,
        (false, Some(_)) => bail!(
            "--range is for floating-point images; {} holds {:?} {found:?}",
            path.display(),
            samples.kind()
        ),
    };
    match (samples.size().get(1).copied(), channels) {
        (Some(1), wanted) if samples.dim() == 4 => {
            Ok(samples.expand([-1, wanted, -1, -1], false).contiguous())
        }
        (Some(3), 1) if samples.dim() == 4 => grey(&samples).with_context(|| {
            format!("{} holds images in colour: samples of this data are grey", path.display())
        }),
        _ => Ok(samples),
    }
}

/// Grey images of those that have their greys three times; `None` if one has a colour.
fn grey(x: &Tensor) -> Option<Tensor> {
    let channels = x.to_kind(Kind::Int);
    let spread = channels.amax([1].as_slice(), true) - channels.amin([1].as_slice(), true);
    (spread.max().double_value(&[]) <= GREY).then(|| x.narrow(1, 1, 1).contiguous())
}

/// Every picture of a folder, which must have the size of the data: resizing would change what is measured.
fn pictures(path: &Path, [height, width]: [i64; 2]) -> anyhow::Result<Tensor> {
    let sizes = reading(path, || folder::sizes(path))?;
    let wrong = sizes.iter().find(|(w, h)| (i64::from(*w), i64::from(*h)) != (width, height) || w != h);
    if let Some((w, h)) = wrong {
        bail!(
            "{} holds pictures {w} wide and {h} high; samples of this data are {width} and {height}, square where they \
             come as pictures: resizing them would change what is measured",
            path.display()
        );
    }
    let read = reading(path, || folder::read(path, u32::try_from(height).ok()))?;
    for warning in &read.warnings {
        crate::eprint(&format!("warning: {warning}"));
    }
    Ok(read.rows.x)
}

/// Floating-point images as bytes, rounded as a picture file holds them.
fn bytes(x: &Tensor, range: Option<Range>) -> anyhow::Result<Tensor> {
    if !bool::try_from(x.isfinite().all())? {
        let first = x.isfinite().logical_not().nonzero().int64_value(&[0, 0]);
        bail!("image {} (x[{first}]) holds values that are not finite numbers", first + 1);
    }
    let (least, most) = (x.min().double_value(&[]), x.max().double_value(&[]));
    let extent = format!("{} to {}", fixed(least, 3), fixed(most, 3));
    let Some(Range { low, high }) = range else {
        bail!(
            "floating-point images from {extent}: say what their values go from and to, --range 0,1 or \
             --range=-1,1 or --range 0,255"
        );
    };
    let slack = SLACK * (high - low);
    if !(least >= low - slack && most <= high + slack) {
        bail!("values from {extent} are outside of --range {low},{high}");
    }
    Ok(((x.to_kind(Kind::Float) - low) * (255.0 / (high - low)))
        .round()
        .clamp(0.0, 255.0)
        .to_kind(Kind::Uint8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_numbers() {
        assert_eq!("-1,1".parse::<Range>().unwrap(), Range { low: -1.0, high: 1.0 });
        for wrong in ["", "1", "1,0", "0,nan", "0,1,2", "a,b"] {
            assert!(wrong.parse::<Range>().unwrap_err().to_string().contains("--range takes"), "{wrong}");
        }
    }

    #[test]
    fn values_become_the_bytes_that_a_file_would_hold() {
        let x = Tensor::from_slice(&[-1.0f32, -0.999, 0.0, 1.0, 1.001]).view([1, 1, 1, 5]);
        let range = Some(Range { low: -1.0, high: 1.0 });
        assert_eq!(
            Vec::<u8>::try_from(bytes(&x, range).unwrap().flatten(0, -1)).unwrap(),
            [0, 0, 128, 255, 255]
        );
        assert!(bytes(&x, None).unwrap_err().to_string().contains("from -1.000 to 1.001"));
        let narrow = Some(Range { low: 0.0, high: 1.0 });
        assert!(bytes(&x, narrow).unwrap_err().to_string().contains("outside of --range 0,1"));
        let broken = Tensor::from_slice(&[f32::NAN]).view([1, 1, 1, 1]);
        assert!(bytes(&broken, range).unwrap_err().to_string().contains("image 1 (x[0])"));
    }
}
