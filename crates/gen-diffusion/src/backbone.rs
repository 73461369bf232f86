//! The common signature of networks.

use std::fmt;

use gen_core::nn::ResidualMlp;
use gen_core::rng::Generator;
use tch::Tensor;

/// The layers between an embedding and a prediction.
pub trait Backbone: fmt::Debug {
    /// `x: [batch, ...]` and its `embedding: [batch, width]` to the shape of `x`. In training, values are dropped by
    /// the generator `dropout`.
    fn forward(&self, x: &Tensor, embedding: &Tensor, dropout: Option<&Generator>) -> Tensor;
}

/// The embedding is added after the first layer. Nothing is dropped.
impl Backbone for ResidualMlp {
    fn forward(&self, x: &Tensor, embedding: &Tensor, _dropout: Option<&Generator>) -> Tensor {
        ResidualMlp::forward(self, x, Some(embedding))
    }
}
