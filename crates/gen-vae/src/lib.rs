//! Variational autoencoders.

/// No models yet.
pub const MODELS: &[gen_core::model::ModelEntry] = &[];
