use std::fmt::Debug;

use tch::Tensor;

use crate::given::Given;

/// A network from the values that a coupling keeps to the parameters of the others. It need not be invertible.
///
/// Each one here gives 0 until it is trained, so that a [`Univariate`](crate::univariate::Univariate) map starts as the
/// identity and a deep flow starts as well-behaved as a shallow one.
pub trait Conditioner: Debug + Send {
    /// The parameters for `x: [batch, inputs, ...]`.
    fn forward(&self, x: &Tensor, given: Given<'_>) -> Tensor;
}
