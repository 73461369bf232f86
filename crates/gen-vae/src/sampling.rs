use gen_core::model::SampleRequest;
use gen_core::rng::Generator;
use gen_core::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Decoder inputs that are evaluated together outside training; this bounds the memory.
pub(crate) const ROWS_AT_ONCE: i64 = 1000;

/// The standard normal numbers, times the temperature, that the samples of `request` are made of: what `rng` gives.
///
/// # Errors
/// When the request has an option that a decoder cannot honour.
pub(crate) fn latent_noise(
    model: &str,
    request: &SampleRequest,
    latent_dim: i64,
    device: Device,
    rng: &Generator,
) -> Result<Tensor> {
    request.require_one_pass(model)?;
    let temperature = request.temperature.unwrap_or(1.0);
    if !(temperature >= 0.0 && temperature.is_finite()) {
        return Err(Error::invalid(format!(
            "the temperature should be a number of 0 or more, found {temperature}"
        )));
    }
    Ok(rng.randn([request.n as i64, latent_dim], (Kind::Float, device)) * temperature)
}
