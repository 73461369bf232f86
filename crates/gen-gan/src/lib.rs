//! Generative adversarial networks.

/// No models yet.
pub const MODELS: &[gen_core::model::ModelEntry] = &[];
