use std::fmt::Debug;

use gen_core::rng::Generator;
use tch::Tensor;

use crate::given::Given;

/// A distribution over `[batch, dimension]` with a density that can be computed and drawn from.
pub trait Base: Debug + Send {
    /// The number of values in one sample.
    fn dimension(&self) -> i64;

    /// ln p(z) of each row, in nats: `[batch]`.
    fn log_prob(&self, z: &Tensor, given: Given<'_>) -> Tensor;

    /// `n` draws from `rng`, `[n, dimension]`, with `temperature` times the spread; a context has `n` rows.
    ///
    /// The temperature multiplies standard deviations (a distribution without them documents its effect). Only with 1
    /// are the draws from the density that [`Base::log_prob`] gives.
    fn sample(&self, n: i64, temperature: f64, given: Given<'_>, rng: &Generator) -> Tensor;
}
