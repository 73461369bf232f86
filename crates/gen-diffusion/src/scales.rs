//! The levels of a batch as tensors.

use tch::{Device, Kind, Tensor};

use crate::schedule::Level;

/// The noise of a batch as tensors: of one level, or of one a row.
#[derive(Debug)]
pub struct Scales {
    /// The factor on the data, which broadcasts against the batch.
    pub alpha: Tensor,
    /// The standard deviation of the noise, which broadcasts against the batch.
    pub sigma: Tensor,
    /// The network's times, `[batch]`.
    pub time: Tensor,
}

impl Scales {
    /// The same level for all rows of `x: [batch, ...]`, in its kind.
    pub fn of(level: &Level, x: &Tensor) -> Self {
        let options = (x.kind(), x.device());
        let scalar = |value: f64| Tensor::from(value).to_kind(x.kind()).to_device(x.device());
        Scales {
            alpha: scalar(level.alpha),
            sigma: scalar(level.sigma),
            time: Tensor::full([x.size()[0]], level.time, options),
        }
    }

    /// A level for each row of `x: [batch, ...]`, in its kind.
    pub fn of_rows(levels: &[Level], x: &Tensor) -> Self {
        let mut shape = vec![1; x.dim()];
        shape[0] = -1;
        Scales {
            alpha: column(levels, x, |level| level.alpha).view(shape.as_slice()),
            sigma: column(levels, x, |level| level.sigma).view(shape.as_slice()),
            time: column(levels, x, |level| level.time),
        }
    }

    /// x_t = α x_0 + σ ε.
    pub fn diffuse(&self, x0: &Tensor, noise: &Tensor) -> Tensor {
        &self.alpha * x0 + &self.sigma * noise
    }
}

/// A number of each level, `[levels]`, in the kind of `like`.
pub(crate) fn column(levels: &[Level], like: &Tensor, of: impl Fn(&Level) -> f64) -> Tensor {
    let values: Vec<f64> = levels.iter().map(of).collect();
    Tensor::from_slice(&values).to_kind(like.kind()).to_device(like.device())
}

/// The values of a flat tensor, on the host.
pub(crate) fn numbers(x: &Tensor) -> Vec<f64> {
    Vec::try_from(x.to_kind(Kind::Double).to_device(Device::Cpu)).expect("a flat tensor of numbers")
}
