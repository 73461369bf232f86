//! Samples from anywhere: an array or a folder of pictures.

use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};
use gen_core::Error;
use gen_core::data::{DataSpec, Shape, folder, npy};
use tch::{Kind, Tensor};

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

/// The samples of a `.npy` file or a folder of pictures, as data like `spec` has them.
pub(super) fn read(path: &Path, spec: &DataSpec, range: Option<Range>) -> anyhow::Result<Tensor> {
    let Shape::Image { channels, height, width } = spec.shape else {
        if path.is_dir() {
            bail!("{} is a folder: samples of `{}` are points, in a .npy file", path.display(), spec.name);
        }
        if range.is_some() {
            bail!("--range says what the values of floating-point images mean; `{}` are points", spec.name);
        }
        return Ok(npy::read(path)?);
    };
    if !path.exists() {
        bail!("there is no {}", path.display());
    }
    let samples = if path.is_dir() { pictures(path, [channels, height, width])? } else { npy::read(path)? };
    let found = samples.size();
    if found.len() == 4 && samples.kind() != Kind::Uint8 {
        return bytes(&samples, range).with_context(|| path.display().to_string());
    }
    if range.is_some() {
        bail!(
            "--range is for floating-point images; {} holds {:?} {found:?}",
            path.display(),
            samples.kind()
        );
    }
    Ok(samples)
}

/// Every picture of a folder, which must have the size of the data: resizing would change what is measured.
fn pictures(path: &Path, [channels, height, width]: [i64; 3]) -> anyhow::Result<Tensor> {
    let sizes = folder::sizes(path)?;
    let wrong = sizes.iter().find(|(w, h)| (i64::from(*w), i64::from(*h)) != (width, height) || w != h);
    if let Some((w, h)) = wrong {
        bail!(
            "{} holds pictures {w} wide and {h} high; samples of this data are {width} and {height}, square where they \
             come as pictures: resizing them would change what is measured",
            path.display()
        );
    }
    let read = folder::read(path, u32::try_from(height).ok())?;
    for warning in &read.warnings {
        crate::eprint(&format!("warning: {warning}"));
    }
    let x = read.rows.x;
    match (x.size()[1], channels) {
        (found, wanted) if found == wanted => Ok(x),
        (1, wanted) => Ok(x.expand([-1, wanted, -1, -1], false).contiguous()),
        _ => bail!("{} holds pictures in colour: samples of this data are grey", path.display()),
    }
}

/// Floating-point images as bytes, rounded as a picture file holds them.
fn bytes(x: &Tensor, range: Option<Range>) -> anyhow::Result<Tensor> {
    let (least, most) = (x.min().double_value(&[]), x.max().double_value(&[]));
    let Some(Range { low, high }) = range else {
        bail!(
            "floating-point images from {least:.3} to {most:.3}: say what their values go from and to, --range 0,1 or \
             --range=-1,1 or --range 0,255"
        );
    };
    let slack = SLACK * (high - low);
    if !(least >= low - slack && most <= high + slack) {
        bail!("values from {least:.3} to {most:.3} are outside of --range {low},{high}");
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
        assert!(bytes(&broken, range).is_err());
    }
}
