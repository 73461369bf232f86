use gen_core::params::{Init, Scope};
use tch::{Kind, Tensor};

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::constant_log_det;

/// Activation normalisation: a scale and a shift for each channel,
///
/// > y = exp(s) x + b, log|det| = (values per channel) · Σ s
///
/// with s = -ln σ and b = -μ/σ of the first batch, so that each channel starts with mean 0 and (unbiased) standard
/// deviation 1 there. Unlike batch normalisation it treats each row alone, in training as in sampling.
///
/// Until [`Layer::initialise`] has seen a batch it is the identity. The start is recorded in the buffer
/// `initialised`, which is saved with the parameters. A channel that is constant in the first batch, or of which
/// there is a single value, is shifted and not scaled: its width is unknown, and several layers in a row would
/// enlarge it again and again. Fewer than 8 values do not tell much either: the mean variance of all channels then
/// counts as one more value of each.
///
/// `x: [batch, channels, ...]`. Kingma & Dhariwal 2018 (Glow), section 3.1.
#[derive(Debug)]
pub struct ActNorm {
    log_scale: Tensor,
    shift: Tensor,
    initialised: Tensor,
}

/// A channel whose standard deviation is smaller in the first batch is constant, but for rounding.
const SMALLEST_STD: f64 = 1e-6;
/// Enough values to estimate the variance of a channel.
const ENOUGH: i64 = 8;

/// The standard deviation of each channel of a first batch, and 1 of those that have none.
fn deviation(x: &Tensor, others: &[i64]) -> Tensor {
    let each = x.numel() as i64 / x.size()[1].max(1);
    let std = if each >= ENOUGH {
        x.std_dim(others, true, false)
    } else {
        let own = x.var_dim(others, false, false);
        let together = own.mean(x.kind()) * each / (each - 1).max(1);
        ((own * each + together) / each).sqrt()
    };
    std.where_self(&std.gt(SMALLEST_STD), &std.ones_like())
}

impl ActNorm {
    /// For inputs of `channels` channels (columns, for tabular data).
    pub fn new(scope: Scope<'_>, channels: i64) -> Self {
        ActNorm {
            log_scale: scope.parameter("log_scale", &[channels], Init::ZEROS),
            shift: scope.parameter("shift", &[channels], Init::ZEROS),
            initialised: scope.buffer("initialised", Tensor::from(0i64)),
        }
    }

    /// s and b.
    pub(super) fn parameters(&self) -> [&Tensor; 2] {
        [&self.log_scale, &self.shift]
    }

    /// A parameter `[channels]` in a shape that broadcasts over `x`.
    fn for_each_channel(parameter: &Tensor, x: &Tensor) -> Tensor {
        let mut shape = vec![1; x.dim()];
        shape[1] = -1;
        parameter.view(shape.as_slice())
    }

    fn log_det(&self, x: &Tensor) -> Tensor {
        let values_per_channel: i64 = x.size()[2..].iter().product();
        self.log_scale.sum(self.log_scale.kind()) * values_per_channel
    }
}

impl Bijection for ActNorm {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let scale = Self::for_each_channel(&self.log_scale.exp(), x);
        let y = Self::for_each_channel(&self.shift, x).addcmul(x, &scale);
        (y, constant_log_det(&self.log_det(x), x))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let scale = Self::for_each_channel(&(-&self.log_scale).exp(), y);
        let x = (y - Self::for_each_channel(&self.shift, y)) * scale;
        (x, constant_log_det(&-self.log_det(y), y))
    }
}

impl Layer for ActNorm {
    fn initialise(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        if !self.is_initialised() {
            let _no_grad = tch::no_grad_guard();
            let others: Vec<i64> = (0..x.dim() as i64).filter(|&dim| dim != 1).collect();
            let mean = x.mean_dim(others.as_slice(), false, x.kind());
            let std = deviation(x, &others);
            self.log_scale.shallow_clone().copy_(&-std.log());
            self.shift.shallow_clone().copy_(&(-mean / std));
            let _ = self.initialised.shallow_clone().fill_(1);
        }
        self.forward(x, given).0
    }

    fn is_initialised(&self) -> bool {
        self.initialised.to_kind(Kind::Int64).int64_value(&[]) != 0
    }
}
