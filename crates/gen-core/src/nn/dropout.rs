use tch::Tensor;

use crate::rng::Generator;

/// Sets values to 0 with a probability in training, and divides the others by the probability to stay (Srivastava et
/// al. 2014).
///
/// The generator is that of the step, [`Step::rng`](crate::model::Step), so that a run repeats.
///
/// ```
/// use gen_core::nn::Dropout;
/// use gen_core::rng::Generator;
/// use tch::{Device, Kind, Tensor};
///
/// let x = Tensor::ones([1000], (Kind::Float, Device::Cpu));
/// let dropout = Dropout::new(0.25);
/// let rng = Generator::seeded(0);
/// let dropped = dropout.forward(&x, Some(&rng));
/// assert!((dropped.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.1);
/// assert_eq!(dropout.forward(&x, None), x);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    probability: f64,
}

impl Dropout {
    /// With this probability of a 0, in [0, 1].
    ///
    /// # Panics
    /// When the probability is outside.
    pub fn new(probability: f64) -> Self {
        assert!((0.0..=1.0).contains(&probability), "a probability is in [0, 1], found {probability}");
        Dropout { probability }
    }

    /// `x` of any shape, with numbers from `rng` in training; without a generator, as in evaluation, `x` itself.
    pub fn forward(&self, x: &Tensor, rng: Option<&Generator>) -> Tensor {
        match rng {
            Some(rng) if self.probability > 0.0 => rng.dropout(x, self.probability),
            _ => x.shallow_clone(),
        }
    }

    /// As [`Dropout::forward`], with one draw for each channel of each image, `x: [batch, channels, ...]` (Tompson et
    /// al. 2015; PyTorch's `Dropout2d`).
    pub fn forward_channels(&self, x: &Tensor, rng: Option<&Generator>) -> Tensor {
        let Some(rng) = rng.filter(|_| self.probability > 0.0) else { return x.shallow_clone() };
        let mut shape = vec![1; x.dim()];
        shape[..2].copy_from_slice(&x.size()[..2]);
        x * rng.dropout(&Tensor::ones(&shape, (x.kind(), x.device())), self.probability)
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::nn::checks::{assert_derivatives, leaf};
    use crate::testing::assert_close;

    /// torch.manual_seed(5)
    /// torch.nn.functional.dropout(torch.ones(8, dtype=torch.float64), 0.3)
    #[test]
    fn draws_are_those_of_pytorch() {
        let x = Tensor::ones([8], (Kind::Double, tch::Device::Cpu));
        let y = Dropout::new(0.3).forward(&x, Some(&Generator::seeded(5)));
        assert_close(&y, &Tensor::from_slice(&GOLDEN), 1e-12, 0.0);
    }

    const GOLDEN: [f64; 8] = [1.0 / 0.7, 1.0 / 0.7, 1.0 / 0.7, 1.0 / 0.7, 1.0 / 0.7, 0.0, 1.0 / 0.7, 0.0];

    #[test]
    fn channels_drop_as_a_whole() {
        let x = leaf(1, &[8, 16, 3, 3]);
        let factors = Dropout::new(0.5).forward_channels(&x, Some(&Generator::seeded(5))) / &x;
        let first = factors.narrow(2, 0, 1).narrow(3, 0, 1);
        assert_close(&factors, &first.expand_as(&factors), 1e-9, 0.0);
        let kept = first.gt(0.0).to_kind(Kind::Double);
        assert_close(&first, &(&kept * 2.0), 1e-9, 0.0);
        // Four standard errors of 128 draws.
        assert!((kept.mean(Kind::Double).double_value(&[]) - 0.5).abs() < 4.0 * 0.5 / 128f64.sqrt());
    }

    #[test]
    fn the_ends_keep_all_and_nothing() {
        let (x, rng) = (leaf(1, &[4, 4]), Generator::seeded(5));
        assert_eq!(Dropout::new(0.0).forward(&x, Some(&rng)), x);
        assert_eq!(Dropout::new(1.0).forward(&x, Some(&rng)), x.zeros_like());
    }

    #[test]
    fn gradients_have_gradients() {
        let x = leaf(1, &[2, 2, 3]);
        let dropout = Dropout::new(0.4);
        assert_derivatives(&[x.shallow_clone()], || dropout.forward(&x, Some(&Generator::seeded(2))).square());
        assert_derivatives(&[x.shallow_clone()], || dropout.forward_channels(&x, Some(&Generator::seeded(2))).square());
    }
}
