use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::shape::Shape;
use super::values::Values;
use crate::error::{Error, Result};
use crate::rng::{Generator, Purpose, stream};

/// Whether pixels are made black or white, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binarise {
    /// Images stay as they are.
    #[default]
    None,
    /// Each pixel is drawn once, with its brightness as the probability of white (Salakhutdinov & Murray 2008).
    Static,
    /// Each pixel is drawn anew each time it is seen (Burda et al. 2016). Likelihoods are not comparable with those of
    /// `static`.
    Dynamic,
}

/// Changes to data between the file and the model, recorded with every run. All but `dequantise` are for images.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataOptions {
    /// Pad with black to this side; 0 keeps the size.
    pub pad: i64,
    /// Resize to this side, antialiased; 0 keeps the size.
    pub resize: i64,
    /// Mirror half of the training images.
    pub flip: bool,
    /// Add uniform noise: of one grey level to images; of one step to those columns of a table that are discrete with
    /// equally spaced values.
    pub dequantise: bool,
    /// Make pixels black or white.
    pub binarise: Binarise,
    /// The share of the values of training images, in [0, 1], that are replaced by uniform random bytes, drawn anew
    /// each time an image is seen, to train a background model (Ren et al. 2019, section 4). Validation and test images
    /// stay as they are.
    pub perturb: f64,
}

impl DataOptions {
    /// Refuses options that do not fit the data set `name` of elements of `shape`.
    ///
    /// # Errors
    /// When an option does not apply to the shape, is out of range, or contradicts another.
    pub(super) fn check(&self, name: &str, shape: Shape) -> Result<()> {
        if *self == DataOptions::default() {
            return Ok(());
        }
        let Shape::Image { height, width, .. } = shape else {
            if *self == (DataOptions { dequantise: true, ..DataOptions::default() }) {
                return Ok(());
            }
            return Err(Error::invalid(format!(
                "`{name}` is tabular data: of the data options only `dequantise` applies to it"
            )));
        };
        if self.dequantise && self.binarise != Binarise::None {
            return Err(Error::invalid("`dequantise` and `binarise` exclude each other"));
        }
        if !(0.0..=1.0).contains(&self.perturb) {
            return Err(Error::invalid(format!(
                "`perturb` is a share of the values of an image, from 0 to 1; found {}",
                self.perturb
            )));
        }
        if self.perturb > 0.0 && self.binarise == Binarise::Static {
            return Err(Error::invalid(
                "`perturb` would put grey into images that `binarise=static` has made black and white: use `dynamic`",
            ));
        }
        let (height, width) = if self.resize > 0 { (self.resize, self.resize) } else { (height, width) };
        if self.resize < 0 || (self.pad != 0 && self.pad < height.max(width)) {
            return Err(Error::invalid(format!("images of {height}x{width} cannot be padded to {0}x{0}", self.pad)));
        }
        Ok(())
    }

    /// Applies the options that change data once: resize, pad, static binarisation.
    ///
    /// `x: u8 [n, channels, height, width]`; `split` numbers the random stream of the part.
    pub(super) fn prepare(&self, x: &Tensor, split: u64) -> Tensor {
        let x = self.fit(x);
        if self.binarise == Binarise::Static { draw_binary(&x, &stream(0, Purpose::Data, split)) } else { x }
    }

    /// Resizes and pads `x: u8 [n, channels, height, width]`, as far as these options say so.
    pub(super) fn fit(&self, x: &Tensor) -> Tensor {
        let mut x = x.shallow_clone();
        if self.resize > 0 && x.size()[0] > 0 {
            let size = [self.resize, self.resize];
            let resized = x.to_kind(Kind::Float).internal_upsample_bicubic2d_aa(size, false, None, None);
            x = resized.round().clamp(0.0, 255.0).to_kind(Kind::Uint8);
        }
        if self.pad > 0 {
            let (height, width) = (x.size()[2], x.size()[3]);
            let (top, left) = ((self.pad - height) / 2, (self.pad - width) / 2);
            let sides = [left, self.pad - width - left, top, self.pad - height - top];
            x = x.constant_pad_nd(sides);
        }
        x
    }

    /// The shape of images of `shape` after [`DataOptions::fit`].
    pub(super) fn fitted(&self, shape: Shape) -> Shape {
        let side = if self.pad > 0 { self.pad } else { self.resize };
        match shape {
            Shape::Image { channels, .. } if side > 0 => Shape::Image { channels, height: side, width: side },
            shape => shape,
        }
    }

    /// The kind of the values of images after these options.
    pub(super) fn values(&self, values: Values) -> Values {
        match (self.binarise, self.dequantise) {
            (Binarise::None, false) => values,
            (Binarise::None, true) => Values::Dequantised,
            _ => Values::Binary,
        }
    }
}

/// Replaces each byte by a uniform one with probability `share`.
pub(super) fn perturbed(bytes: &Tensor, share: f64, rng: &Generator) -> Tensor {
    let like = bytes.to_kind(Kind::Float);
    let is_replaced = rng.rand_like(&like).lt(share);
    let uniform = (rng.rand_like(&like) * 256.0).floor().to_kind(Kind::Uint8);
    uniform.where_self(&is_replaced, bytes)
}

/// Draws each byte as 0 or 255, with its brightness as the probability of 255.
pub(super) fn draw_binary(bytes: &Tensor, rng: &Generator) -> Tensor {
    let probability = bytes.to_kind(Kind::Float) / 255.0;
    let white = rng.rand_like(&probability).lt_tensor(&probability);
    white.to_kind(Kind::Uint8) * 255
}
