use gen_core::data::{DataSpec, Shape};
use gen_core::nn::Standardise;
use gen_core::params::Scope;
use gen_core::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Between the units of the data and those that the networks see: points are standardised, images stay in [-1, 1].
#[derive(Debug)]
pub(crate) struct Units {
    shape: Shape,
    device: Device,
    points: Option<Standardise>,
}

impl Units {
    /// The statistics of points are registered in `scope`.
    ///
    /// # Errors
    /// When points come without the statistics of their coordinates.
    pub(crate) fn new(scope: &Scope<'_>, data: &DataSpec) -> Result<Self> {
        Ok(Units { shape: data.shape, device: scope.device(), points: Standardise::of(scope, data)? })
    }

    /// Data to what the networks see: `f32`.
    ///
    /// # Errors
    /// When the rows have not the shape of the data.
    pub(crate) fn standardise(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.size().first().copied().unwrap_or(0);
        let expected = self.shape.batch(rows);
        if x.size() != expected {
            return Err(Error::invalid(format!("a batch should be {expected:?}, found {:?}", x.size())));
        }
        Ok(match &self.points {
            Some(points) => points.forward(x),
            None => x.to_kind(Kind::Float).to_device(self.device),
        })
    }

    /// What the networks see to data: points in `f64`; images are clamped to [-1, 1].
    pub(crate) fn restore(&self, x: &Tensor) -> Tensor {
        match &self.points {
            Some(points) => points.inverse(x),
            None => x.clamp(-1.0, 1.0),
        }
    }

    /// log p of rows as the networks see them to log p of the data: of points in `f64`.
    pub(crate) fn log_prob_of_data(&self, log_prob: Tensor) -> Tensor {
        match &self.points {
            Some(points) => log_prob.to_kind(Kind::Double) + points.log_det(),
            None => log_prob,
        }
    }
}
