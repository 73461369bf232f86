use gen_core::distributions::{DiscretisedGaussian, Gaussian};
use tch::{Kind, Tensor};

/// The distribution of data given the least noisy state of a process, around the estimate of x_0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// A probability mass over a grid of this many values from -1 to 1: [`DiscretisedGaussian`].
    Discretised(u32),
    /// A density of real numbers: [`Gaussian`].
    Gaussian,
}

impl Decoder {
    /// -ln p of each row of `x0: [batch, ...]` around `mean`: `f64 [batch]`.
    pub(super) fn nats(self, x0: &Tensor, mean: &Tensor, std: f64) -> Tensor {
        let x0 = x0.to_kind(Kind::Double);
        let gaussian = Gaussian::new(mean.to_kind(Kind::Double), Tensor::from(std.ln()));
        match self {
            Decoder::Discretised(levels) => -DiscretisedGaussian::new(gaussian, levels).log_prob(&x0),
            Decoder::Gaussian => -gaussian.log_prob(&x0),
        }
    }
}
