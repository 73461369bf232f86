use gen_core::native::{Coupled, Degrees, Way, autoregressive_inverse, gradients_enabled};
use tch::Tensor;

use super::{Bijection, Given, Halves};
use crate::conditioner::{Conditioner, Made};
use crate::univariate::Univariate;

/// A masked autoregressive layer: each value is transformed with parameters that depend on the values before it,
///
/// > yᵢ = τ(xᵢ; θᵢ(x_<i)), log|det| = Σ ln|∂τ/∂xᵢ|
///
/// where a [`Made`] gives all the parameters in one pass. From latent to data the values come one after another; the
/// network is still gone through once in all, since each hidden unit is computed as soon as what it sees is known.
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
        gradients_enabled()
            && self.made.layers().into_iter().chain([y]).chain(given.context).any(Tensor::requires_grad)
    }

    /// The inverse by one pass of the whole network a value: what gradients can go through.
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
        self.univariate.couple(&Halves::all(y), &parameters, Way::Inverse)
    }
}

impl<U: Univariate> Bijection for Autoregressive<U> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        let parameters = self.made.forward(x, given);
        self.univariate.couple(&Halves::all(x), &parameters, Way::Forward)
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        match self.univariate.native() {
            Some(univariate) if !self.carries_gradient(y, given) => {
                let degrees = self.made.degrees();
                let degrees = Degrees { inputs: &degrees.inputs, hidden: &degrees.hidden };
                let Coupled { values, log_det } =
                    autoregressive_inverse(y, given.context, &self.made.layers(), degrees, univariate)
                        .unwrap_or_else(|error| panic!("{error}"));
                (values, log_det)
            }
            _ => self.inverse_by_passes(y, given),
        }
    }

    fn is_step(&self) -> bool {
        true
    }
}
