use gen_core::params::Scope;
use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::constant_log_det;

/// Batch normalisation as a bijection:
///
/// > y = (x - μ) / √(σ² + ε), log|det| = -(values per channel) · ½ Σ ln(σ² + ε)
///
/// for each channel. In a training step ([`Given::training`]) μ and σ² are those of the batch, with gradients, and the
/// running means, in the buffers `mean` and `variance`, take a tenth of them. All other passes use the running means:
/// each row is treated alone there.
///
/// `x: [batch, channels, ...]`. Dinh et al. 2017 (RealNVP), section 3.7, which takes the running means in training too.
#[derive(Debug)]
pub struct BatchNorm {
    mean: Tensor,
    variance: Tensor,
}

/// ε.
const EPSILON: f64 = 1e-5;
/// The share of a batch in the running means.
const MOMENTUM: f64 = 0.1;

impl BatchNorm {
    /// For inputs of `channels` channels (columns, for tabular data). The running means start as 0 and 1.
    pub fn new(scope: Scope<'_>, channels: i64) -> Self {
        let options = (scope.kind(), scope.device());
        BatchNorm {
            mean: scope.buffer("mean", Tensor::zeros([channels], options)),
            variance: scope.buffer("variance", Tensor::ones([channels], options)),
        }
    }

    /// μ and σ² of the batch in a training step, otherwise the running means.
    fn moments(&self, x: &Tensor, given: Given<'_>) -> [Tensor; 2] {
        if given.rng.is_none() {
            return [self.mean.shallow_clone(), self.variance.shallow_clone()];
        }
        let others: Vec<i64> = (0..x.dim() as i64).filter(|&dim| dim != 1).collect();
        let moments = [x.mean_dim(others.as_slice(), false, x.kind()), x.var_dim(others.as_slice(), false, false)];
        tch::no_grad(|| {
            for (running, found) in [&self.mean, &self.variance].into_iter().zip(&moments) {
                let _ = running.shallow_clone().lerp_(found, MOMENTUM);
            }
        });
        moments
    }

    /// √(σ² + ε), and -(values per channel) · Σ ln of it for each row of `x`.
    fn scale(variance: &Tensor, x: &Tensor) -> (Tensor, Tensor) {
        let scale = (variance + EPSILON).sqrt();
        let values_per_channel: i64 = x.size()[2..].iter().product();
        let log_det = scale.log().sum(x.kind()) * -values_per_channel;
        (scale, constant_log_det(&log_det, x))
    }
}

/// A number for each channel in a shape that broadcasts over `x`.
fn over(x: &Tensor, each: &Tensor) -> Tensor {
    let mut shape = vec![1; x.dim()];
    shape[1] = -1;
    each.view(shape.as_slice())
}

impl Bijection for BatchNorm {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let [mean, variance] = self.moments(x, given);
        let (scale, log_det) = Self::scale(&variance, x);
        ((x - over(x, &mean)) / over(x, &scale), log_det)
    }

    /// With the running means, always.
    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let (scale, log_det) = Self::scale(&self.variance, y);
        (y * over(y, &scale) + over(y, &self.mean), -log_det)
    }
}

impl Layer for BatchNorm {}
