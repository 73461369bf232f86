//! Normalizing flows with exact likelihoods.

/// No models yet.
pub const MODELS: &[gen_core::model::ModelEntry] = &[];
