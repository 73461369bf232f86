//! Invertible maps, and compositions of them.
//!
//! One direction has one name everywhere: [`Bijection::forward`] leads from data to latents, so that a density is one
//! forward pass and a sample one inverse pass.

mod actnorm;
mod autoregressive;
mod batch_norm;
mod chain;
mod continuous;
mod conv1x1;
mod coupling;
mod factor_out;
mod flatten;
mod histogram;
mod inverse;
mod layer;
mod logit;
mod permutation;
mod probit;
mod residual;
mod rotation;
mod squash;
mod squeeze;
mod standardise;

pub use actnorm::ActNorm;
pub use autoregressive::Autoregressive;
pub use batch_norm::BatchNorm;
pub use chain::Chain;
pub use continuous::{Continuous, JacobianTrace, PerceptronField, Place, Pullback, VectorField};
pub use conv1x1::{Conv1x1, NormalisedConv1x1};
pub use coupling::{Coupling, Mask};
pub use factor_out::FactorOut;
pub use flatten::Flatten;
pub use histogram::Histogram;
pub use inverse::Inverse;
pub use layer::{Bijection, Layer};
pub use logit::Logit;
pub use permutation::Permutation;
pub use probit::Probit;
pub use residual::{Contraction, LogDet, Residual};
pub use rotation::Rotation;
pub use squash::{Sigmoid, Tanh};
pub use squeeze::Squeeze;
pub use standardise::Standardise;
