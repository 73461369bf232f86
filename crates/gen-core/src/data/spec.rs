use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::discrete::{Grid, spread};
use crate::error::{Error, Result};
use crate::rng::{Generator, Purpose, stream};

/// The shape of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Shape {
    /// An image.
    Image {
        /// 1 for grey, 3 for colour.
        channels: i64,
        /// In pixels.
        height: i64,
        /// In pixels.
        width: i64,
    },
    /// A point of a real vector space.
    Points {
        /// Its dimension.
        dimension: i64,
    },
}

impl Shape {
    /// The shape of `n` elements as a tensor.
    pub fn batch(&self, n: i64) -> Vec<i64> {
        match *self {
            Shape::Image { channels, height, width } => vec![n, channels, height, width],
            Shape::Points { dimension } => vec![n, dimension],
        }
    }

    /// The number of values in one element.
    pub fn dimensions(&self) -> i64 {
        self.batch(1).iter().product()
    }

    /// Whether this is an image.
    pub fn is_image(&self) -> bool {
        matches!(self, Shape::Image { .. })
    }
}

/// What the numbers in a batch are, which decides what a likelihood of them means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// On the 256-level grid: `byte / 127.5 - 1`. A likelihood is that of the byte, a probability mass.
    Bytes,
    /// `(byte + u) / 128 - 1` with u uniform on [0, 1). A likelihood is a density; bits per dimension add
    /// `log2(128) = 7`.
    Dequantised,
    /// -1 or 1. A likelihood is a probability mass.
    Binary,
    /// Real numbers. A likelihood is a density.
    Continuous,
}

impl Values {
    /// Bits per dimension of a log-likelihood (nats, as [`Density`](crate::model::Density) gives it) of an
    /// element of `dimensions` values.
    ///
    /// ```
    /// use gen_core::data::Values;
    /// // A model that thinks all bytes equally likely needs 8 bits for each.
    /// let uniform = -784.0 * 256f64.ln();
    /// assert!((Values::Bytes.bits_per_dim(uniform, 784) - 8.0).abs() < 1e-12);
    /// // The same model as a density on [-1, 1).
    /// let uniform = -784.0 * 2f64.ln();
    /// assert!((Values::Dequantised.bits_per_dim(uniform, 784) - 8.0).abs() < 1e-12);
    /// ```
    pub fn bits_per_dim(self, log_likelihood: f64, dimensions: i64) -> f64 {
        let bits = -log_likelihood / (dimensions as f64 * std::f64::consts::LN_2);
        match self {
            Values::Dequantised => bits + 7.0,
            Values::Bytes | Values::Binary | Values::Continuous => bits,
        }
    }
}

/// Which pixels become black and white, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binarise {
    /// Images stay as they are.
    #[default]
    None,
    /// Each pixel is drawn once, with its brightness as probability (Salakhutdinov & Murray 2008).
    Static,
    /// Each pixel is drawn anew each time it is seen (Burda et al. 2016). Never compare with `static`.
    Dynamic,
}

/// Named changes to data between the file and the model, recorded with every run; all but `dequantise` are for images.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataOptions {
    /// Pad with black to this side; 0 leaves the size.
    pub pad: i64,
    /// Resize to this side, antialiased; 0 leaves the size.
    pub resize: i64,
    /// Mirror half of the training images.
    pub flip: bool,
    /// Add uniform noise: of one grey level to images; of one step to the columns of points that are discrete and whose
    /// values are equally spaced.
    pub dequantise: bool,
    /// Make pixels black or white.
    pub binarise: Binarise,
    /// The share of the values of training images, in [0, 1], that are replaced by uniform random bytes, others each time
    /// an image is seen: what a background model is trained on (Ren et al. 2019, section 4). Validation and test images
    /// stay as they are.
    pub perturb: f64,
}

impl DataOptions {
    /// # Errors
    /// When an option does not fit the data.
    pub(super) fn check(&self, spec: &DataSpec) -> Result<()> {
        if *self == DataOptions::default() {
            return Ok(());
        }
        let Shape::Image { height, width, .. } = spec.shape else {
            if *self == (DataOptions { dequantise: true, ..DataOptions::default() }) {
                return Ok(());
            }
            return Err(Error::invalid(format!(
                "`{}` has points: of the options of data only `dequantise` applies to them",
                spec.name
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
                "`perturb` makes grey pixels of those that `binarise=static` has made black or white: use `dynamic`",
            ));
        }
        let (height, width) = if self.resize > 0 { (self.resize, self.resize) } else { (height, width) };
        if self.resize < 0 || (self.pad != 0 && self.pad < height.max(width)) {
            return Err(Error::invalid(format!(
                "images of {height}x{width} cannot be padded to {0}x{0}",
                self.pad
            )));
        }
        Ok(())
    }

    /// What is done once: resize, pad, static binarisation. `x: u8 [n, channels, height, width]`.
    pub(super) fn prepare(&self, x: &Tensor, split: u64) -> Tensor {
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
        if self.binarise == Binarise::Static {
            x = draw_binary(&x, &stream(0, Purpose::Data, split));
        }
        x
    }

    pub(super) fn values(&self, values: Values) -> Values {
        match (self.binarise, self.dequantise) {
            (Binarise::None, false) => values,
            (Binarise::None, true) => Values::Dequantised,
            _ => Values::Binary,
        }
    }
}

/// Bytes of which each is replaced by a uniform one with probability `share`.
pub(super) fn perturbed(bytes: &Tensor, share: f64, rng: &Generator) -> Tensor {
    let like = bytes.to_kind(Kind::Float);
    let is_replaced = rng.rand_like(&like).lt(share);
    let uniform = (rng.rand_like(&like) * 256.0).floor().to_kind(Kind::Uint8);
    uniform.where_self(&is_replaced, bytes)
}

/// Bytes drawn as 0 or 255 with their brightness as probability.
pub(super) fn draw_binary(bytes: &Tensor, rng: &Generator) -> Tensor {
    let probability = bytes.to_kind(Kind::Float) / 255.0;
    let white = rng.rand_like(&probability).lt_tensor(&probability);
    white.to_kind(Kind::Uint8) * 255
}

/// The rows of each part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// For training.
    pub train: usize,
    /// For choices.
    pub validation: usize,
    /// For what is reported.
    pub test: usize,
}

/// What a model needs to know of its data, and a run has to record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// The name of the set.
    pub name: String,
    /// The shape of one element.
    pub shape: Shape,
    /// What the numbers are.
    pub values: Values,
    /// The names of the classes; empty where there are none.
    #[serde(default)]
    pub classes: Vec<String>,
    /// The names of the coordinates of points, where their file has such; else empty.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Mean of each coordinate of the training points; empty for images.
    #[serde(default)]
    pub mean: Vec<f64>,
    /// Standard deviation of each coordinate of the training points; 0 where all of them have one value; empty for images.
    #[serde(default)]
    pub std: Vec<f64>,
    /// What the values of each coordinate of points lie on, where uniform noise of one step is added whenever a model
    /// sees them; empty where none is added to any.
    #[serde(default)]
    pub grids: Vec<Grid>,
    /// Standard deviation of all values of the training set together, in the units of a batch.
    pub sigma: f64,
    /// SHA-256 over the files of the set, in the order of its manifest; empty where there are none.
    #[serde(default)]
    pub sha256: String,
    /// The rows of each part.
    #[serde(default)]
    pub splits: Splits,
    /// What was done to the images.
    #[serde(default)]
    pub options: DataOptions,
}

impl DataSpec {
    /// The specification of a training tensor, see [`Dataset::from_tensor`](super::Dataset::from_tensor).
    pub(super) fn of(name: &str, x: &Tensor, classes: Vec<String>) -> Result<Self> {
        let size = x.size();
        let found = format!("found {:?} {size:?}", x.kind());
        if size.first().is_none_or(|n| *n == 0) {
            return Err(Error::invalid(format!("`{name}` has no training data: {found}")));
        }
        let (shape, values) = match (size.as_slice(), x.kind()) {
            ([_, channels, height, width], Kind::Uint8) => {
                let shape = Shape::Image { channels: *channels, height: *height, width: *width };
                (shape, Values::Bytes)
            }
            ([_, dimension], Kind::Float | Kind::Double) => {
                (Shape::Points { dimension: *dimension }, Values::Continuous)
            }
            _ => {
                return Err(Error::invalid(format!(
                    "`{name}` should be u8 [n, channels, height, width] or floating-point [n, dimension]; {found}"
                )));
            }
        };
        let (mean, std, sigma) = if shape.is_image() {
            let pixels = x.narrow(0, 0, size[0].min(10_000));
            (Vec::new(), Vec::new(), super::bytes_to_signed(&pixels).std(false).double_value(&[]))
        } else {
            let (mean, std) = moments(name, x)?;
            (mean, std, x.std(false).double_value(&[]))
        };
        Ok(DataSpec {
            name: name.to_owned(),
            shape,
            values,
            classes,
            columns: Vec::new(),
            mean,
            std,
            grids: Vec::new(),
            sigma,
            sha256: String::new(),
            splits: Splits::default(),
            options: DataOptions::default(),
        })
    }

    /// A coordinate of points in messages: "column 3 (`age`)", or without a name "column 3".
    pub fn column(&self, column: usize) -> String {
        match self.columns.get(column) {
            Some(name) => format!("column {} (`{name}`)", column + 1),
            None => format!("column {}", column + 1),
        }
    }

    /// Whether the data set adds uniform noise to rows, so that their density bounds that of the values without it:
    /// images of which [`Values::Dequantised`] is true, and points on [`DataSpec::grids`].
    pub fn is_dequantised(&self) -> bool {
        self.values == Values::Dequantised || self.grids.iter().any(|grid| grid.step > 0.0)
    }

    /// Has uniform noise added to the coordinates that have a step in `grids`, one grid a coordinate, and updates their
    /// standard deviations.
    pub fn spread_over(&mut self, grids: Vec<Grid>) {
        let before = std::mem::take(&mut self.grids);
        for (column, grid) in grids.iter().enumerate() {
            // Uniform noise of one step has the variance step² / 12. By a power of 2 near them, no square overflows or
            // vanishes, and no digit changes.
            let parts = [self.std[column], grid.step, before.get(column).map_or(0.0, |grid| grid.step)];
            let largest = parts.into_iter().fold(0.0, f64::max);
            if largest > 0.0 {
                let unit = largest.log2().floor().exp2();
                let [std, step, earlier] = parts.map(|part| (part / unit).powi(2));
                self.std[column] = unit * (std + (step - earlier) / 12.0).sqrt();
            }
        }
        self.grids = grids;
    }

    /// Points with the uniform noise that [`DataSpec::grids`] ask for: `f64 [n, dimension]`.
    pub(super) fn spread(&self, x: &Tensor, rng: &Generator) -> Tensor {
        let x = x.to_kind(Kind::Double);
        if self.grids.is_empty() { x } else { spread(&x, &self.grids, rng) }
    }

    /// Samples as a file of this data would hold them: points on the grids of the coordinates that have one.
    pub fn on_grids(&self, x: &Tensor) -> Tensor {
        if self.grids.is_empty() {
            return x.shallow_clone();
        }
        let row = |f: fn(&Grid) -> f64| {
            Tensor::from_slice(&self.grids.iter().map(f).collect::<Vec<_>>()).to_device(x.device())
        };
        let (origin, step) = (row(|grid| grid.origin), row(|grid| grid.step));
        let nearest = ((x - &origin) / &step).round() * &step + origin;
        nearest.where_self(&step.gt(0.0), x)
    }
}

/// The [`column_moments`] of a training set.
fn moments(name: &str, x: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    let [mean, std] = column_moments(x);
    if !bool::try_from(std.isfinite().all())? {
        return Err(Error::invalid(format!(
            "the values of a column of `{name}` lie further apart than the largest number: divide them by a constant"
        )));
    }
    Ok((Vec::try_from(mean)?, Vec::try_from(std)?))
}

/// Mean and standard deviation of each column of `x: f64 [n, columns]`, by way of the share of the range that a value
/// is at: so no offset takes digits away, and no square overflows or vanishes. They are NaN where the range itself is no
/// number.
pub fn column_moments(x: &Tensor) -> [Tensor; 2] {
    let (low, high) = (x.amin([0].as_slice(), false), x.amax([0].as_slice(), false));
    let range = &high - &low;
    let is_constant = range.eq(0.0);
    let share = (x - &low) / (&range + &is_constant);
    let mean = &low + share.mean_dim(0, false, Kind::Double) * &range;
    let std = share.std_dim(0, false, false) * &range;
    // A range of the smallest numbers there are has no smaller ones for its deviation.
    let std = std.clamp_min(f64::MIN_POSITIVE).masked_fill(&is_constant, 0.0);
    [mean, std]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close_f64;

    #[test]
    fn moments_do_not_depend_on_offset_and_scale() {
        let z = Generator::seeded(1).randn([1000], (Kind::Double, tch::Device::Cpu));
        let columns = [&z * 0.3 + 2_451_545.0, &z * 1e-21, &z * 1e200, &z * 0.0 + 0.1, z.shallow_clone()];
        let (mean, std) = moments("x", &Tensor::stack(&columns, 1)).unwrap();
        let (m, s) = (mean[4], std[4]);
        assert_close_f64(m, z.mean(Kind::Double).double_value(&[]), 0.0, 1e-14);
        assert_close_f64(s, z.std(false).double_value(&[]), 1e-13, 0.0);
        assert_close_f64(mean[0], 2_451_545.0 + 0.3 * m, 1e-15, 0.0);
        assert_close_f64(std[0], 0.3 * s, 1e-8, 0.0);
        assert_close_f64(mean[1], 1e-21 * m, 1e-9, 0.0);
        assert_close_f64(std[1], 1e-21 * s, 1e-12, 0.0);
        assert_close_f64(std[2], 1e200 * s, 1e-12, 0.0);
        assert_eq!((mean[3], std[3]), (0.1, 0.0));
        let far = Tensor::from_slice(&[-1.7e308, 1.7e308]).view([2, 1]);
        assert!(moments("x", &far).unwrap_err().to_string().contains("divide"));
    }

    #[test]
    fn samples_go_to_their_grids() {
        let x = Tensor::from_slice(&[1.2, 0.3, 7.9, 0.7]).view([2, 2]);
        let mut spec = DataSpec::of("x", &x, Vec::new()).unwrap();
        let std = spec.std.clone();
        spec.spread_over(vec![Grid { origin: 1.0, step: 3.0 }, Grid::default()]);
        assert_eq!(spec.on_grids(&x), Tensor::from_slice(&[1.0, 0.3, 7.0, 0.7]).view([2, 2]));
        assert_close_f64(spec.std[0].powi(2), std[0].powi(2) + 0.75, 1e-14, 0.0);
        assert_eq!(spec.std[1], std[1]);
    }

    #[test]
    fn the_noise_of_a_grid_has_a_deviation_at_every_scale() {
        let values = Tensor::from_slice(&[0.0, 1.0, 3.0]).view([3, 1]);
        let std = |scale: f64| {
            let mut spec = DataSpec::of("x", &(&values * scale), Vec::new()).unwrap();
            spec.spread_over(vec![Grid { origin: 0.0, step: scale }]);
            spec.std[0] / scale
        };
        let expected = (14.0f64 / 9.0 + 1.0 / 12.0).sqrt();
        for scale in [1.0, 1e200, 1e-200, 1e307] {
            assert_close_f64(std(scale), expected, 1e-14, 0.0);
        }
    }
}
