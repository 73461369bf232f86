//! Probability distributions as small values that hold their parameters.
//!
//! A distribution is over batches of one shape, `[batch, ...]`. Its parameters have that shape or broadcast to it, such
//! as one learned scale for all values. Log-probabilities, entropies and divergences are in nats and summed over the
//! values of a row, never averaged: `[batch]`. All are differentiable in the parameters. Noise comes as an argument, or
//! from the generator that is handed in.
//!
//! | distribution | of | log-probability |
//! |---|---|---|
//! | [`Gaussian`], [`GaussianMixture`] | real numbers | density |
//! | [`DiscretisedGaussian`], [`DiscretisedLogistic`] | grey levels | mass |
//! | [`Bernoulli`] | 0 and 1 | mass |
//! | [`Categorical`] | classes | mass |
//!
//! [`log_mean_exp`] and [`effective_sample_size`] are for estimates that weigh samples of one distribution by another.

mod bernoulli;
mod categorical;
mod discretised_gaussian;
mod discretised_logistic;
mod gaussian;
mod grid;
mod importance;
mod mixture;
mod rows;

pub use bernoulli::Bernoulli;
pub use categorical::Categorical;
pub use discretised_gaussian::DiscretisedGaussian;
pub use discretised_logistic::DiscretisedLogistic;
pub use gaussian::Gaussian;
pub use importance::{effective_sample_size, log_mean_exp};
pub use mixture::GaussianMixture;
pub use rows::sum_rows;
