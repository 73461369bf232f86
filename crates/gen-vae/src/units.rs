use gen_core::data::{DataSpec, Shape};
use gen_core::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Between the units of the data and those that the networks see: points are standardised, images stay in [-1, 1].
#[derive(Debug)]
pub(crate) struct Units {
    shape: Shape,
    mean: Tensor,
    std: Tensor,
    log_volume: f64,
}

impl Units {
    /// # Errors
    /// When points come without the statistics of their coordinates.
    pub(crate) fn new(data: &DataSpec, device: Device) -> Result<Self> {
        let Shape::Points { dimension } = data.shape else {
            let scalar = |value: f64| Tensor::from(value).to_kind(Kind::Float).to_device(device);
            return Ok(Units { shape: data.shape, mean: scalar(0.0), std: scalar(1.0), log_volume: 0.0 });
        };
        let complete = |values: &[f64]| values.len() as i64 == dimension;
        if !complete(&data.mean) || !complete(&data.std) || data.std.iter().any(|s| *s <= 0.0) {
            return Err(Error::invalid(format!(
                "`{}` has points of {dimension} coordinates: their means and positive standard deviations are needed",
                data.name
            )));
        }
        let row = |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float).to_device(device);
        Ok(Units {
            shape: data.shape,
            mean: row(&data.mean),
            std: row(&data.std),
            log_volume: data.std.iter().map(|s| s.ln()).sum(),
        })
    }

    /// Data to what the networks see.
    ///
    /// # Errors
    /// When the rows have not the shape of the data.
    pub(crate) fn standardise(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.size().first().copied().unwrap_or(0);
        let expected = self.shape.batch(rows);
        if x.size() != expected {
            return Err(Error::invalid(format!("a batch should be {expected:?}, found {:?}", x.size())));
        }
        let x = x.to_kind(Kind::Float).to_device(self.mean.device());
        Ok(if self.shape.is_image() { x } else { (x - &self.mean) / &self.std })
    }

    /// What the networks see to data; images are clamped to [-1, 1].
    pub(crate) fn restore(&self, x: &Tensor) -> Tensor {
        if self.shape.is_image() { x.clamp(-1.0, 1.0) } else { x * &self.std + &self.mean }
    }

    /// log |d data / d network|: log p(data) = log p(network) − this.
    pub(crate) fn log_volume(&self) -> f64 {
        self.log_volume
    }
}
