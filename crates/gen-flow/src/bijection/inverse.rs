use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;

/// f⁻¹ in the place of f: this map takes data to latents as the inner one takes latents to data.
///
/// An inverse autoregressive flow (Kingma et al. 2016) is a masked autoregressive flow in this wrapper. Parameters of
/// the inner map that could start from data keep the start that they were built with: they would do so in the
/// direction from data to latents only.
#[derive(Debug)]
pub struct Inverse<B>(pub B);

impl<B: Bijection> Bijection for Inverse<B> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.0.inverse(x, given)
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.0.forward(y, given)
    }
}

impl<B: Layer> Layer for Inverse<B> {
    fn parts(&self) -> Vec<&dyn Layer> {
        vec![&self.0]
    }

    fn is_initialised(&self) -> bool {
        true
    }
}
