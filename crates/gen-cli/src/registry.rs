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

#[cfg(test)]
mod tests {
    use gen_core::model::{GenerativeModel, SampleRequest};
    use gen_core::registry::BuildContext;
    use tch::Device;

    use super::*;
    use crate::catalog;

    /// The model with its defaults for a data set, if it learns such data.
    fn built(entry: &ModelEntry, name: &str) -> Option<Box<dyn GenerativeModel>> {
        let data = catalog::load(name).unwrap().spec;
        let context = BuildContext { data: data.clone(), device: Device::Cpu, seed: 0 };
        let built = entry.build(&entry.default_config(&data).unwrap(), &context);
        assert_eq!(built.is_ok(), entry.capabilities.learns(data.shape), "{} on {name}", entry.name);
        built.ok()
    }

    #[test]
    fn models_have_the_abilities_that_their_entries_claim() {
        for entry in models() {
            let all: Vec<_> = ["digits", "moons"].iter().filter_map(|name| built(&entry, name)).collect();
            let claimed = entry.capabilities;
            // Gaussian noise leaves `tarflow` no likelihood of images, and classes leave it no latents.
            assert_eq!(all.iter().any(|model| model.density().is_some()), claimed.likelihood, "{}", entry.name);
            assert_eq!(all.iter().any(|model| model.latent().is_some()), claimed.latents, "{}", entry.name);
            for model in &all {
                let request = SampleRequest::new(1, 0);
                assert_eq!(model.card().citation, entry.citation);
                assert_eq!(model.sampling(&request).unwrap().sampler, claimed.samplers.first().copied());
                for sampler in claimed.samplers {
                    model.sampling_options(&request.clone().with("sampler", *sampler)).unwrap();
                }
                let own = model.sampling_options(&request).unwrap();
                assert_eq!(own, entry.default_sampling(&model.card().data).unwrap(), "{}", entry.name);
            }
        }
    }
}
