use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::bytes::bytes_to_signed;
use super::discrete::{Grid, spread};
use super::moments::ColumnMoments;
use super::options::DataOptions;
use super::shape::Shape;
use super::splits::Splits;
use super::values::Values;
use crate::error::{Error, Result};
use crate::rng::Generator;

/// The properties of a data set that a model is built for and that a run records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// The name of the set.
    pub name: String,
    /// The shape of one element.
    pub shape: Shape,
    /// The kind of the values.
    pub values: Values,
    /// The names of the classes; empty where there are none.
    #[serde(default)]
    pub classes: Vec<String>,
    /// The names of the columns of a table; empty where its file has none, and for images.
    #[serde(default)]
    pub columns: Vec<String>,
    /// Mean of each column over the training rows; empty for images.
    #[serde(default)]
    pub mean: Vec<f64>,
    /// Standard deviation of each column over the training rows, 0 where all have one value; empty for images.
    #[serde(default)]
    pub std: Vec<f64>,
    /// The grid of each column of a table. Uniform noise of one step is added to a column with a grid whenever a model
    /// sees it. Empty where no column has one.
    #[serde(default)]
    pub grids: Vec<Grid>,
    /// Standard deviation of all values of the training rows together, in the units of a batch.
    pub sigma: f64,
    /// The columns of a table that rows are given, which no model learns to make; empty where there are none.
    #[serde(default)]
    pub context: Vec<ContextColumn>,
    /// The shape of the other image, where images come in pairs.
    #[serde(default)]
    pub pair: Option<Shape>,
    /// SHA-256 over the files of the set, in the order of its manifest; empty where there are no files.
    #[serde(default)]
    pub sha256: String,
    /// The number of rows in each part.
    #[serde(default)]
    pub splits: Splits,
    /// The options that were applied.
    #[serde(default)]
    pub options: DataOptions,
}

/// A column of real numbers that rows of data are given, with its moments over the training rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextColumn {
    /// The name, empty where the file has none.
    pub name: String,
    /// The mean.
    pub mean: f64,
    /// The standard deviation, 0 where all rows have one value.
    pub std: f64,
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
            (Vec::new(), Vec::new(), bytes_to_signed(&pixels).std(false).double_value(&[]))
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
            context: Vec::new(),
            pair: None,
            sha256: String::new(),
            splits: Splits::default(),
            options: DataOptions::default(),
        })
    }

    /// The name of a column, counted from 0, for messages: "column 3 (`age`)", or "column 3" where it has no name.
    pub fn column(&self, column: usize) -> String {
        match self.columns.get(column) {
            Some(name) => format!("column {} (`{name}`)", column + 1),
            None => format!("column {}", column + 1),
        }
    }

    /// Whether uniform noise is added to the data, so that the density of the noisy rows bounds the likelihood of the
    /// clean ones: images of kind [`Values::Dequantised`], and tables with [`DataSpec::grids`].
    pub fn is_dequantised(&self) -> bool {
        self.values == Values::Dequantised || self.grids.iter().any(|grid| grid.step > 0.0)
    }

    /// Sets the grids, one for each column, and updates the standard deviations of the columns by the noise.
    pub fn spread_over(&mut self, grids: Vec<Grid>) {
        let before = std::mem::take(&mut self.grids);
        for (column, grid) in grids.iter().enumerate() {
            // Uniform noise of one step has the variance step² / 12. Scaling by a power of 2 keeps squares from
            // overflowing or underflowing, and changes no digit.
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

    /// Adds the uniform noise of [`DataSpec::grids`]: `f64 [n, dimension]`.
    pub(super) fn spread(&self, x: &Tensor, rng: &Generator) -> Tensor {
        let x = x.to_kind(Kind::Double);
        if self.grids.is_empty() { x } else { spread(&x, &self.grids, rng) }
    }

    /// Rounds samples to the values that a file of this data could hold, in the columns that have a grid.
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

/// The mean and the standard deviation of each column of a training set.
fn moments(name: &str, x: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    let ColumnMoments { mean, std } = ColumnMoments::of(x);
    if !bool::try_from(std.isfinite().all())? {
        return Err(Error::invalid(format!(
            "the range of a column of `{name}` exceeds the largest floating-point number: divide it by a constant"
        )));
    }
    Ok((Vec::try_from(mean)?, Vec::try_from(std)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close_f64;

    #[test]
    fn a_range_beyond_the_largest_number_is_refused() {
        let far = Tensor::from_slice(&[-1.7e308, 1.7e308]).view([2, 1]);
        assert!(moments("x", &far).unwrap_err().to_string().contains("divide"));
    }

    #[test]
    fn samples_are_rounded_to_their_grids() {
        let x = Tensor::from_slice(&[1.2, 0.3, 7.9, 0.7]).view([2, 2]);
        let mut spec = DataSpec::of("x", &x, Vec::new()).unwrap();
        let std = spec.std.clone();
        spec.spread_over(vec![Grid { origin: 1.0, step: 3.0 }, Grid::default()]);
        assert_eq!(spec.on_grids(&x), Tensor::from_slice(&[1.0, 0.3, 7.0, 0.7]).view([2, 2]));
        assert_close_f64(spec.std[0].powi(2), std[0].powi(2) + 0.75, 1e-14, 0.0);
        assert_eq!(spec.std[1], std[1]);
    }

    #[test]
    fn the_noise_of_a_grid_adds_to_the_deviation_at_every_scale() {
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
