//! An untrained network.

use tch::{Device, Kind, Tensor};

use super::embedded::as_signed;
use super::network::FEATURES;
use crate::axes::PrincipalAxes;
use gen_core::data::Shape;
use gen_core::rng::{Generator, Purpose, stream};
use gen_core::{Error, Result};

/// Channels of the convolutions.
const CHANNELS: [i64; 3] = [32, 64, 128];
/// Side to which the output of a stage but the last is averaged.
const COARSE: i64 = 2;
/// Largest side of the output of the last stage.
const LARGEST_SIDE: i64 = 4;
/// Training images for the mean, the scale and the axes.
const FITTED: i64 = 10_000;
/// Lower limit on standard deviations, as a share of the largest.
const SCALE_FLOOR: f64 = 0.05;
/// Standard deviation that rounding can give to equal images.
const LEAST_DEVIATION: f64 = 1e-6;
/// Images in one forward pass.
const CHUNK: i64 = 500;

/// An untrained convolutional network for small images, like the random networks of Naeem et al. (2020, section 3.3): a
/// feature space without labels.
///
/// It has three convolutions with orthogonal weights from one fixed seed: a 5x5 one, whose filters but one ignore the
/// mean, and two 3x3 ones. SiLU and an average over 2x2 follow each. The outputs of all stages are used. Those of the
/// first two are averaged over the four quarters of the image, which separates fine texture from noise and from blur.
/// All outputs are standardised over the training images. The features are their leading principal components, each
/// with variance 1.
pub struct RandomNetwork {
    weights: Vec<Tensor>,
    channels: i64,
    axes: PrincipalAxes,
    /// `f64 [1, outputs]`
    mean: Tensor,
    scale: Tensor,
}

impl RandomNetwork {
    /// The network for images of `shape`, with the mean, scale and axes of the first 10,000 training images
    /// `u8 [n, channels, height, width]`.
    ///
    /// # Errors
    /// When the shape is not that of images of at least 4x4 pixels, or the images are fewer than two or all equal.
    pub fn fit(shape: Shape, train: &Tensor) -> Result<Self> {
        let Shape::Image { channels, height, width } = shape else {
            return Err(Error::invalid("a random network needs images; points are their own features"));
        };
        if height.min(width) < 4 {
            return Err(Error::invalid(format!(
                "a random network needs images of at least 4x4 pixels, found {height}x{width}"
            )));
        }
        let rng = stream(0, Purpose::Evaluate, 64);
        let mut inputs = channels;
        let mut weights = Vec::new();
        for (stage, outputs) in CHANNELS.into_iter().enumerate() {
            let kernel = if stage == 0 { 5 } else { 3 };
            let weight = orthogonal([outputs, inputs, kernel, kernel], &rng);
            if stage == 0 {
                let filters = weight.narrow(0, 1, outputs - 1);
                let mean = filters.mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float);
                filters.shallow_clone().copy_(&(filters - mean));
            }
            weights.push(weight);
            inputs = outputs;
        }
        let unit = (Kind::Double, Device::Cpu);
        let mut network = RandomNetwork {
            weights,
            channels,
            axes: PrincipalAxes {
                mean: Tensor::zeros([1], unit),
                variances: Tensor::ones([1], unit),
                directions: Tensor::ones([1, 1], unit),
            },
            mean: Tensor::zeros([1], unit),
            scale: Tensor::ones([1], unit),
        };
        let raw: Vec<Tensor> =
            train.narrow(0, 0, train.size()[0].min(FITTED)).split(CHUNK, 0).iter().map(|x| network.raw(x)).collect();
        let raw = Tensor::cat(&raw, 0);
        if raw.size()[0] < 2 {
            return Err(Error::invalid("a random network is fitted to at least 2 training images"));
        }
        let deviation = raw.std_dim(0, true, true);
        network.mean = raw.mean_dim(0, true, Kind::Double);
        network.scale = deviation.maximum(&(deviation.max() * SCALE_FLOOR));
        if deviation.max().double_value(&[]) < LEAST_DEVIATION {
            return Err(Error::invalid("a random network is fitted to images that differ: these are all equal"));
        }
        let standard = (raw - &network.mean) / &network.scale;
        let PrincipalAxes { mean, variances, directions } = PrincipalAxes::of(&standard)?;
        let count = FEATURES.min(variances.numel() as i64);
        let variances = variances.narrow(0, 0, count);
        let directions = directions.narrow(1, 0, count) / variances.sqrt();
        network.axes = PrincipalAxes { mean, variances, directions };
        Ok(network)
    }

    /// Number of features.
    pub fn count(&self) -> i64 {
        self.axes.directions.size()[1]
    }

    /// Features of images `u8 [n, channels, height, width]`: `f64 [n, count]`.
    ///
    /// # Errors
    /// When the images have another number of channels or pixels.
    pub fn features(&self, images: &Tensor, progress: &mut dyn FnMut(usize, usize)) -> Result<Tensor> {
        match images.size()[..] {
            [_, channels, _, _] if channels == self.channels => {}
            _ => {
                return Err(Error::invalid(format!(
                    "the random network takes images of {} channels, found {:?}",
                    self.channels,
                    images.size()
                )));
            }
        }
        let total = images.size()[0] as usize;
        let mut parts = Vec::new();
        let mut done = 0;
        for part in images.split(CHUNK, 0) {
            progress(done, total);
            done += part.size()[0] as usize;
            let standard = self.raw(&part).f_sub(&self.mean)? / &self.scale;
            parts.push(self.axes.project(&standard));
        }
        Ok(Tensor::cat(&parts, 0))
    }

    /// The outputs of all stages before they are standardised: `f64 [n, outputs]`.
    fn raw(&self, images: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        self.stages(&as_signed(images)).to_kind(Kind::Double)
    }

    fn stages(&self, x: &Tensor) -> Tensor {
        let last = self.weights.len() - 1;
        let mut h = x.shallow_clone();
        let mut said = Vec::new();
        for (stage, weight) in self.weights.iter().enumerate() {
            let padding = weight.size()[3] / 2;
            h = h.conv2d(weight, None::<Tensor>, [1, 1], [padding, padding], [1, 1], 1).silu();
            if stage < last {
                said.push(h.adaptive_avg_pool2d([COARSE, COARSE]).flatten(1, -1));
            }
            if h.size()[2].min(h.size()[3]) >= 2 {
                h = h.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None);
            }
        }
        let side = |at: usize| h.size()[at].min(LARGEST_SIDE);
        said.push(h.adaptive_avg_pool2d([side(2), side(3)]).flatten(1, -1));
        Tensor::cat(&said, 1)
    }
}

/// Weights of a convolution: an orthonormal matrix times √2.
fn orthogonal(shape: [i64; 4], rng: &Generator) -> Tensor {
    let (rows, columns) = (shape[0], shape[1] * shape[2] * shape[3]);
    let size = [rows.max(columns), rows.min(columns)];
    let (q, r) = Tensor::linalg_qr(&rng.randn(size, (Kind::Double, Device::Cpu)), "reduced");
    // The factorisation chooses the signs of R's diagonal; multiplying by them makes Q a function of the draws.
    let q = q * r.diagonal(0, 0, 1).sign();
    let q = if rows < columns { q.tr() } else { q };
    (q * 2f64.sqrt()).contiguous().view(shape).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(n: i64, shape: [i64; 3]) -> Tensor {
        let [channels, height, width] = shape;
        let i = Tensor::arange(n * channels * height * width, (Kind::Double, Device::Cpu));
        let x = (&i * &i * 0.37).sin() * 40.0 + (&i * 0.013).cos() * 60.0 + 128.0;
        x.to_kind(Kind::Uint8).view([n, channels, height, width])
    }

    fn fitted(x: &Tensor) -> Result<RandomNetwork> {
        let [_, channels, height, width] = x.size()[..] else { panic!() };
        RandomNetwork::fit(Shape::Image { channels, height, width }, x)
    }

    #[test]
    fn features_are_uncorrelated_and_of_unit_variance() {
        for shape in [[1, 8, 8], [3, 33, 20]] {
            let x = images(150, shape);
            let network = fitted(&x).unwrap();
            let f = network.features(&x, &mut |_, _| ()).unwrap();
            assert_eq!(f.size(), [150, network.count()]);
            let covariance = f.tr().cov(1, None::<Tensor>, None::<Tensor>);
            gen_core::testing::assert_close(
                &covariance,
                &Tensor::eye(network.count(), (Kind::Double, Device::Cpu)),
                0.0,
                1e-6,
            );
        }
    }

    #[test]
    fn the_same_images_have_the_same_features_alone_and_among_others() {
        let x = images(700, [1, 12, 12]);
        let (a, b) = (fitted(&x).unwrap(), fitted(&x).unwrap());
        let features = |network: &RandomNetwork, x: &Tensor| network.features(x, &mut |_, _| ()).unwrap();
        assert_eq!(features(&a, &x), features(&b, &x));
        let one = features(&a, &x.narrow(0, 600, 1));
        gen_core::testing::assert_close(&one, &features(&a, &x).narrow(0, 600, 1), 1e-4, 1e-4);
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let message = |result: Result<RandomNetwork>| result.err().unwrap().to_string();
        assert!(message(fitted(&images(20, [1, 3, 9]))).contains("at least 4x4 pixels, found 3x9"));
        assert!(
            message(fitted(&Tensor::full([9, 1, 8, 8], 7, (Kind::Uint8, Device::Cpu)))).contains("these are all equal")
        );
        assert!(
            message(RandomNetwork::fit(
                Shape::Points { dimension: 2 },
                &Tensor::zeros([2, 2], (Kind::Float, Device::Cpu))
            ))
            .contains("needs images")
        );
        let network = fitted(&images(20, [1, 8, 8])).unwrap();
        let other = network.features(&images(2, [3, 8, 8]), &mut |_, _| ()).unwrap_err().to_string();
        assert!(other.contains("takes images of 1 channels"));
    }
}
