use gen_core::native::{Coupled, Degrees, Way, autoregressive_inverse, gradients_enabled};
use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::conditioner::{Conditioner, Made};
use crate::given::Given;
use crate::univariate::{Partition, Univariate};

/// A masked autoregressive layer: each value is transformed with parameters that depend on the values before it,
///
/// > yᵢ = τ(xᵢ; θᵢ(x_<i)), log|det| = Σ ln|∂τ/∂xᵢ|
///
/// where a [`Made`] gives all the parameters in one pass. From latents to data the values come one after another. All
/// of it still costs one pass of the network, since each hidden unit is computed as soon as its inputs are known.
///
/// `x: [batch, dimension]`. In [`Inverse`](super::Inverse) it is an inverse autoregressive flow (IAF): fast to sample,
/// and to train against a density; the likelihood of data is then sequential.
///
/// Papamakarios et al. 2017 (MAF), section 3; Kingma et al. 2016 (IAF), section 3.
#[derive(Debug)]
pub struct Autoregressive<U> {
    made: Made,
    univariate: U,
}

impl<U: Univariate> Autoregressive<U> {
    /// `made` gives [`Univariate::parameters`] numbers for each value.
    pub fn new(made: Made, univariate: U) -> Self {
        Autoregressive { made, univariate }
    }

    /// Whether a result would be part of autograd's graph.
    fn carries_gradient(&self, y: &Tensor, given: Given<'_>) -> bool {
        gradients_enabled() && self.made.layers().into_iter().chain([y]).chain(given.context).any(Tensor::requires_grad)
    }

    /// The inverse in one pass of the network, for the maps and tensors that gen-native takes; without gradients.
    fn inverse_in_one_pass(&self, y: &Tensor, given: Given<'_>) -> Option<Coupled> {
        let univariate = self.univariate.native().filter(|_| !self.carries_gradient(y, given))?;
        let degrees = self.made.degrees();
        let degrees = Degrees { inputs: &degrees.inputs, hidden: &degrees.hidden };
        autoregressive_inverse(y, given.context, &self.made.layers(), degrees, univariate)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The inverse by a pass of the whole network for each value; gradients can go through it.
    fn inverse_by_passes(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let degrees = &self.made.degrees().inputs;
        let zero = y.zeros_like();
        let mut x = zero.shallow_clone();
        for degree in 1..degrees.len() as i64 {
            let parameters = self.made.forward(&x, given);
            let (candidate, _) = self.univariate.inverse(y, &parameters);
            let known: Vec<bool> = degrees.iter().map(|&d| d <= degree).collect();
            x = candidate.where_self(&Tensor::from_slice(&known).to_device(y.device()), &zero);
        }
        let parameters = self.made.forward(&x, given);
        self.univariate.couple(&Partition::all(y), &parameters, Way::Inverse)
    }
}

impl<U: Univariate> Bijection for Autoregressive<U> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let parameters = self.made.forward(x, given);
        self.univariate.couple(&Partition::all(x), &parameters, Way::Forward)
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        match self.inverse_in_one_pass(y, given) {
            Some(Coupled { values, log_det }) => (values, log_det),
            None => self.inverse_by_passes(y, given),
        }
    }
}

impl<U: Univariate> Layer for Autoregressive<U> {
    fn is_step(&self) -> bool {
        true
    }
}
