//! The time of a process as features that condition a network.

use gen_core::nn::{Linear, sinusoidal_embedding};
use gen_core::params::Scope;
use tch::Tensor;

/// The embedding of the time that conditions every block: sines and cosines, then two linear layers with a SiLU between
/// and one behind (Ho et al. 2020, appendix B).
#[derive(Debug)]
pub struct TimeEmbedding {
    frequencies: i64,
    first: Linear,
    second: Linear,
}

impl TimeEmbedding {
    /// `frequencies` sines and cosines (an even number) to `outputs` values.
    pub fn new(scope: Scope<'_>, frequencies: i64, outputs: i64) -> Self {
        TimeEmbedding {
            frequencies,
            first: Linear::new(&scope / "0", frequencies, outputs),
            second: Linear::new(&scope / "1", outputs, outputs),
        }
    }

    /// `time: [batch]`, in thousandths of the process, to `[batch, outputs]`.
    pub fn forward(&self, time: &Tensor) -> Tensor {
        let waves = sinusoidal_embedding(time, self.frequencies);
        self.second.forward(&self.first.forward(&waves).silu()).silu()
    }
}
