//! References beside the models: training data, a Gaussian and noise.

use std::fmt;
use std::str::FromStr;

use tch::{Device, Kind, Tensor};

use super::gaussian::Gaussian;
use gen_core::data::{Binarise, DataSpec, Dataset, Values};
use gen_core::model::LikelihoodKind;
use gen_core::nn::Standardise;
use gen_core::params::Params;
use gen_core::rng::{Purpose, permutation, stream};
use gen_core::{Error, Result};

/// Samples of no model, which give the range that models should be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// Training data: the result of a perfect model with the same number of samples.
    Floor,
    /// A Gaussian with the mean and full covariance of the training data; bytes are clamped and rounded.
    PixelGaussian,
    /// Independent uniform bytes (fair coins for black and white images); for points, uniform in the bounding box of
    /// the training data.
    PixelNoise,
}

impl Reference {
    /// All references, the best first.
    pub const ALL: [Reference; 3] = [Reference::Floor, Reference::PixelGaussian, Reference::PixelNoise];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Reference::Floor => "floor",
            Reference::PixelGaussian => "pixel-gaussian",
            Reference::PixelNoise => "pixel-noise",
        }
    }

    /// The kind of likelihood of [`Reference::log_likelihood`] for this data.
    pub fn likelihood_kind(self, data: &DataSpec) -> LikelihoodKind {
        let is_spread = data.values == Values::Bytes || data.is_dequantised();
        match (self, is_spread) {
            (Reference::PixelGaussian, true) => LikelihoodKind::Dequantised,
            _ => LikelihoodKind::Exact,
        }
    }

    /// `n` samples in the form of the data: bytes or points. The floor has at most as many as there are training rows.
    ///
    /// # Errors
    /// When there are fewer than two training rows.
    pub fn sample(self, data: &Dataset, n: usize, seed: u64) -> Result<Tensor> {
        let train = &data.train.x;
        let shape = data.spec.shape.batch(n as i64);
        match self {
            Reference::Floor => {
                let mut order = permutation(data.train.len(), seed, Purpose::Evaluate, 1);
                order.truncate(n);
                Ok(as_values(&data.train.select(&order).x, data))
            }
            Reference::PixelGaussian => {
                if let Some(units) = units(data)? {
                    let sample = Gaussian::fit(&units.forward(train))?.sample(n, seed);
                    return Ok(data.spec.on_grids(&units.inverse(&sample)));
                }
                let sample = Gaussian::fit(&as_values(train, data))?.sample(n, seed).view(shape.as_slice());
                Ok(match data.spec.values {
                    Values::Continuous => data.spec.on_grids(&sample.to_kind(Kind::Double)),
                    Values::Binary => sample.ge(127.5).to_kind(Kind::Uint8) * 255,
                    Values::Bytes | Values::Dequantised => sample.round().clamp(0.0, 255.0).to_kind(Kind::Uint8),
                })
            }
            Reference::PixelNoise => {
                let rng = stream(seed, Purpose::Sample, 0);
                let uniform = rng.rand(&shape, (Kind::Float, train.device()));
                Ok(match data.spec.values {
                    Values::Continuous => {
                        let (low, high) = (train.amin([0].as_slice(), true), train.amax([0].as_slice(), true));
                        data.spec.on_grids(&(uniform.to_kind(Kind::Double) * (high - &low) + low))
                    }
                    Values::Binary => uniform.ge(0.5).to_kind(Kind::Uint8) * 255,
                    Values::Bytes | Values::Dequantised => (uniform * 256.0).floor().to_kind(Kind::Uint8),
                })
            }
        }
    }

    /// log p of rows in the form of the data, in the nats of [`Density`](gen_core::model::Density): `f64 [n]`. It is
    /// defined for the Gaussian of uniformly dequantised bytes and of points with a regular covariance, and for the
    /// noise of bytes.
    ///
    /// # Errors
    /// When there are fewer than two training rows.
    pub fn log_likelihood(self, data: &Dataset, x: &Tensor, seed: u64) -> Result<Option<Tensor>> {
        let dimensions = data.spec.shape.dimensions() as f64;
        let all = |nats: f64| Tensor::full([x.size()[0]], nats * dimensions, (Kind::Double, Device::Cpu));
        Ok(match (self, data.spec.values) {
            (Reference::PixelGaussian, Values::Continuous) => {
                let Some(units) = units(data)? else { return Ok(None) };
                let gaussian = Gaussian::fit(&units.forward(&data.train.x))?;
                if gaussian.is_singular() {
                    return Ok(None);
                }
                Some(gaussian.log_prob(&units.forward(x), 0.0)? + units.log_det())
            }
            (Reference::PixelGaussian, Values::Bytes | Values::Dequantised) => {
                // Uniform noise adds 1/12 to the variances of bytes and 1/2 to their means.
                let x = x.to_kind(Kind::Double);
                let noisy = &x + stream(seed, Purpose::Evaluate, 0).rand_like(&x) - 0.5;
                let per_byte = Gaussian::fit(&data.train.x)?.log_prob(&noisy, 1.0 / 12.0)?;
                Some(match data.spec.values {
                    // One grey level is 1/128 wide on [-1, 1).
                    Values::Dequantised => per_byte + dimensions * 128f64.ln(),
                    _ => per_byte,
                })
            }
            (Reference::PixelNoise, Values::Bytes) => Some(all(-(256f64.ln()))),
            (Reference::PixelNoise, Values::Dequantised | Values::Binary) => Some(all(-(2f64.ln()))),
            _ => None,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|reference| reference.name() == name);
        found.ok_or_else(|| Error::unknown("reference", name, Self::ALL.map(Reference::name)))
    }
}

/// The units in which columns of points are compared, by their training rows: a column of large numbers does not decide
/// alone how far apart two rows are. `None` for images.
pub(super) fn units(data: &Dataset) -> Result<Option<Standardise>> {
    Standardise::of(&Params::new(Kind::Double, Device::Cpu).root(), &data.spec)
}

/// Stored rows as a file of samples would hold them: binarised, if batches are.
pub(super) fn as_values(x: &Tensor, data: &Dataset) -> Tensor {
    if data.spec.options.binarise != Binarise::Dynamic {
        return x.shallow_clone();
    }
    let brightness = x.to_kind(Kind::Float) / 255.0;
    let rng = stream(0, Purpose::Evaluate, 2);
    rng.rand_like(&brightness).lt_tensor(&brightness).to_kind(Kind::Uint8) * 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::data::{DataOptions, Split};

    fn images() -> Dataset {
        let i = Tensor::arange(600 * 16, (Kind::Double, Device::Cpu));
        let x = ((&i * 0.7).sin() * 30.0 + (&i * &i * 0.11).sin() * 50.0 + 110.0).to_kind(Kind::Uint8);
        let x = x.view([600, 1, 4, 4]);
        let test = Split::unlabelled(x.narrow(0, 500, 100));
        Dataset::from_splits("x", Split::unlabelled(x.narrow(0, 0, 500)), None, Some(test), Vec::new()).unwrap()
    }

    fn bits(data: &Dataset, reference: Reference) -> f64 {
        let nats = reference.log_likelihood(data, &data.test.x, 0).unwrap().unwrap();
        data.spec.values.bits_per_dim(nats.mean(Kind::Double).double_value(&[]), 16)
    }

    #[test]
    fn samples_have_the_form_of_the_data() {
        let data = images();
        for reference in Reference::ALL {
            let x = reference.sample(&data, 300, 1).unwrap();
            assert_eq!((x.kind(), x.size()), (Kind::Uint8, vec![300, 1, 4, 4]), "{reference}");
            assert_eq!(x, reference.sample(&data, 300, 1).unwrap(), "{reference} has a seed");
            assert_eq!(reference.name().parse::<Reference>().unwrap(), reference);
        }
        assert_eq!(Reference::Floor.sample(&data, 9999, 1).unwrap().size()[0], 500);
        let noise = Reference::PixelNoise.sample(&data, 5000, 1).unwrap();
        assert_eq!((noise.min().int64_value(&[]), noise.max().int64_value(&[])), (0, 255));
        assert_eq!(
            "pixel-nose".parse::<Reference>().unwrap_err().to_string(),
            "unknown reference `pixel-nose`: did you mean `pixel-noise`?"
        );
    }

    #[test]
    fn noise_needs_eight_bits_and_the_gaussian_fewer() {
        let data = images();
        assert!((bits(&data, Reference::PixelNoise) - 8.0).abs() < 1e-12);
        let gaussian = bits(&data, Reference::PixelGaussian);
        assert!((4.0..7.9).contains(&gaussian), "{gaussian}");
        // The same model of the same noisy bytes, as a density on [-1, 1).
        let dequantised = images().with_options(&DataOptions { dequantise: true, ..DataOptions::default() }).unwrap();
        assert!((bits(&dequantised, Reference::PixelGaussian) - gaussian).abs() < 1e-12);
        assert!((bits(&dequantised, Reference::PixelNoise) - 8.0).abs() < 1e-12);
    }

    #[test]
    fn black_and_white_stays_so() {
        let options = DataOptions { binarise: Binarise::Dynamic, ..DataOptions::default() };
        let data = images().with_options(&options).unwrap();
        for reference in Reference::ALL {
            let x = reference.sample(&data, 50, 1).unwrap();
            let grey = x.not_equal(0).logical_and(&x.not_equal(255));
            assert!(!bool::try_from(grey.any()).unwrap(), "{reference}");
        }
        assert!((bits(&data, Reference::PixelNoise) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn singular_covariances_have_samples_and_no_density_of_points() {
        let x = stream(1, Purpose::Evaluate, 0).randn([100, 3], (Kind::Double, Device::Cpu));
        // A column twice, one that never varies, one of another size, and one row many times.
        let twice = Tensor::cat(&[&x, &x.narrow(1, 0, 1)], 1);
        let constant = Tensor::cat(&[&x, &(x.narrow(1, 0, 1).zeros_like() + 7.0)], 1);
        let sizes = &x * Tensor::from_slice(&[1e9, 1.0, 1e-9]);
        for (x, has_density) in [(twice, false), (constant, false), (x.ones_like(), false), (sizes, true)] {
            let part = || Split::unlabelled(x.shallow_clone());
            let data = Dataset::from_splits("x", part(), None, Some(part()), Vec::new()).unwrap();
            let sample = Reference::PixelGaussian.sample(&data, 5, 0).unwrap();
            assert_eq!((sample.size()[0], sample.kind()), (5, data.train.x.kind()));
            assert!(bool::try_from(sample.isfinite().all()).unwrap());
            let nats = Reference::PixelGaussian.log_likelihood(&data, &data.test.x, 0).unwrap();
            assert_eq!(nats.is_some(), has_density);
        }
        // Images have noise that makes them whole.
        let x = Tensor::full([50, 1, 4, 4], 7, (Kind::Uint8, Device::Cpu));
        let part = || Split::unlabelled(x.shallow_clone());
        let data = Dataset::from_splits("x", part(), None, Some(part()), Vec::new()).unwrap();
        assert!(bits(&data, Reference::PixelGaussian).is_finite());
        assert_eq!(Reference::PixelGaussian.sample(&data, 50, 0).unwrap(), x);
    }
}
