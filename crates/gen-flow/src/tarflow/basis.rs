use tch::Tensor;

use crate::bijection::{Bijection, Layer};
use crate::given::Given;

/// A layer of sequences `[batch, length, values]` in coordinates of its own, whose result is turned back: the states
/// of a flow stay pictures.
#[derive(Debug)]
pub(super) struct InBasis<B> {
    /// The coordinates as rows, orthonormal `[values, values]`.
    basis: Tensor,
    layer: B,
}

impl<B> InBasis<B> {
    pub(super) fn new(basis: &Tensor, layer: B) -> Self {
        InBasis { basis: basis.shallow_clone(), layer }
    }

    /// The result of `map` in the coordinates of the layer.
    fn through(&self, x: &Tensor, map: impl FnOnce(&Tensor) -> (Tensor, Tensor)) -> (Tensor, Tensor) {
        let (y, log_det) = map(&x.matmul(&self.basis.tr()));
        (y.matmul(&self.basis), log_det)
    }
}

impl<B: Bijection> Bijection for InBasis<B> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.through(x, |x| self.layer.forward(x, given))
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.through(y, |y| self.layer.inverse(y, given))
    }
}

impl<B: Layer> Layer for InBasis<B> {
    fn parts(&self) -> Vec<&dyn Layer> {
        vec![&self.layer]
    }
}
