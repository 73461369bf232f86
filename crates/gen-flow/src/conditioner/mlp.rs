use gen_core::nn::{Activation, Mlp};
use gen_core::params::Scope;
use tch::Tensor;

use super::network::Conditioner;
use crate::given::Given;

/// A perceptron with ReLU; the context is appended to its input.
#[derive(Debug)]
pub struct MlpConditioner {
    mlp: Mlp,
}

impl MlpConditioner {
    /// `[batch, inputs]` and a context of `context` features (0 for none) to `[batch, outputs]`, through hidden
    /// layers of these sizes.
    pub fn new(scope: Scope<'_>, inputs: i64, context: i64, hidden: &[i64], outputs: i64) -> Self {
        let mut sizes = vec![inputs + context];
        sizes.extend(hidden);
        sizes.push(outputs);
        MlpConditioner { mlp: Mlp::zero_output(scope, &sizes, Activation::Relu) }
    }
}

impl Conditioner for MlpConditioner {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        match given.context {
            Some(context) => self.mlp.forward(&Tensor::cat(&[x, context], 1)),
            None => self.mlp.forward(x),
        }
    }
}
