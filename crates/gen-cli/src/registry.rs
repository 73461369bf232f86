//! The models that the program knows.

use gen_core::Error;
use gen_core::registry::ModelEntry;

/// All models, family by family.
pub(crate) fn models() -> Vec<ModelEntry> {
    [gen_gan::MODELS, gen_vae::MODELS, gen_flow::MODELS, gen_diffusion::MODELS].concat()
}

/// The model of this name.
pub(crate) fn find(name: &str) -> gen_core::Result<ModelEntry> {
    let models = models();
    let found = models.iter().find(|entry| entry.name == name).copied();
    found.ok_or_else(|| Error::unknown("model", name, models.iter().map(|entry| entry.name)))
}
