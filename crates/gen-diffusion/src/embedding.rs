//! The time of a process, and what rows are given, as features that condition a network.

use gen_core::nn::{Activation, Linear, Mlp, sinusoidal_embedding};
use gen_core::params::Scope;
use tch::Tensor;

/// The features that condition every block: sines and cosines of the time, then two linear layers with a SiLU between
/// and one behind (Ho et al. 2020, appendix B). A condition is added before the last SiLU, through two layers of its
/// own; of one-hot classes it is a vector for each class (Dhariwal & Nichol 2021, section 3).
#[derive(Debug)]
pub struct Embedding {
    frequencies: i64,
    first: Linear,
    second: Linear,
    condition: Option<(Mlp, i64)>,
}

impl Embedding {
    /// `frequencies` sines and cosines (an even number) to `outputs` values, with conditions of `given` values or none.
    pub fn new(scope: Scope<'_>, frequencies: i64, outputs: i64, given: Option<i64>) -> Self {
        Embedding {
            frequencies,
            first: Linear::new(&scope / "0", frequencies, outputs),
            second: Linear::new(&scope / "1", outputs, outputs),
            condition: given
                .map(|width| (Mlp::new(&scope / "condition", &[width, outputs, outputs], Activation::Silu), width)),
        }
    }

    /// `time: [batch]` and the conditions `given: [batch, width]` to `[batch, outputs]`. Of no condition, and of one
    /// that is all zeros, the features are the same.
    ///
    /// # Panics
    /// When something is given and the embedding takes no condition.
    pub fn forward(&self, time: &Tensor, given: Option<&Tensor>) -> Tensor {
        let waves = sinusoidal_embedding(time, self.frequencies);
        let mut h = self.second.forward(&self.first.forward(&waves).silu());
        match (&self.condition, given) {
            (Some((layers, _)), Some(given)) => h += layers.forward(given),
            (Some((layers, width)), None) => h += layers.forward(&Tensor::zeros([1, *width], (h.kind(), h.device()))),
            (None, None) => {}
            (None, Some(given)) => panic!("an embedding without conditions was given {:?}", given.size()),
        }
        h.silu()
    }
}
