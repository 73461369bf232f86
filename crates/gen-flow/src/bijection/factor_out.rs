use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::{join, split};

/// Some channels are finished, the others go through `rest`:
///
/// > x = (x₁, x₂) along the channels, y = (rest(x₁), flat(x₂)) end to end, log|det| = that of `rest`
///
/// Put after the couplings of one scale, with a [`Chain`](super::Chain) of the next scale as `rest` (a squeeze,
/// couplings, then [`Flatten`](super::Flatten) or another factoring-out), it makes the multi-scale architecture. The
/// latent stays one tensor: the coarsest values first, the finest last.
///
/// `[batch, channels, height, width]` to `[batch, channels · height · width]`; `rest` takes `[batch, kept, height,
/// width]` to `[batch, kept · height · width]`.
///
/// Dinh et al. 2017, section 3.6, equations 13 to 16.
#[derive(Debug)]
pub struct FactorOut<B> {
    shape: [i64; 3],
    kept: i64,
    rest: B,
}

impl<B: Bijection> FactorOut<B> {
    /// For images of `[channels, height, width]`, the first `kept` channels of which go on through `rest`.
    ///
    /// # Panics
    /// When `kept` is not among `1..channels`.
    pub fn new(shape: [i64; 3], kept: i64, rest: B) -> Self {
        assert!(kept > 0 && kept < shape[0], "of {} channels, {kept} cannot be kept", shape[0]);
        FactorOut { shape, kept, rest }
    }

    /// The latents of `rest`, and the finished channels as feature maps.
    fn finished(&self, y: &Tensor) -> [Tensor; 2] {
        let [channels, height, width] = self.shape;
        let [y1, y2] = split(y, self.kept * height * width);
        [y1, y2.reshape([-1, channels - self.kept, height, width])]
    }
}

impl<B: Bijection> Bijection for FactorOut<B> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let [x1, x2] = split(x, self.kept);
        let (y1, log_det) = self.rest.forward(&x1, given);
        (Tensor::cat(&[y1, x2.flatten(1, -1)], 1), log_det)
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let [y1, x2] = self.finished(y);
        let (x1, log_det) = self.rest.inverse(&y1, given);
        (join(&x1, &x2), log_det)
    }
}

impl<B: Layer> Layer for FactorOut<B> {
    fn parts(&self) -> Vec<&dyn Layer> {
        vec![&self.rest]
    }

    fn initialise(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        let [x1, x2] = split(x, self.kept);
        Tensor::cat(&[self.rest.initialise(&x1, given), x2.flatten(1, -1)], 1)
    }

    fn outline(&self, y: &Tensor, given: Given<'_>) -> Tensor {
        let [y1, x2] = self.finished(y);
        join(&self.rest.outline(&y1, given), &x2)
    }

    fn trajectory(&self, y: &Tensor, given: Given<'_>, visit: &mut dyn FnMut(&Tensor)) -> Tensor {
        let [y1, x2] = self.finished(y);
        let x1 = self.rest.trajectory(&y1, given, &mut |x1| visit(&join(x1, &x2)));
        join(&x1, &x2)
    }
}
