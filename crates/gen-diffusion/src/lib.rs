//! Denoising diffusion models.

/// No models yet.
pub const MODELS: &[gen_core::model::ModelEntry] = &[];
