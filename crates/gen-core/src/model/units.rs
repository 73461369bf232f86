use tch::{Device, Kind, Tensor};

use crate::data::DataSpec;
use crate::error::Result;
use crate::nn::Standardise;
use crate::params::Scope;

/// The conversion between the units of the data and those of networks: points are standardised, images are in [-1, 1]
/// on both sides.
#[derive(Debug)]
pub struct Units {
    points: Option<Standardise>,
    kind: Kind,
    device: Device,
}

impl Units {
    /// For `data`; the statistics of points are registered in `scope`.
    ///
    /// # Errors
    /// When points come without the statistics of their coordinates.
    pub fn new(scope: &Scope<'_>, data: &DataSpec) -> Result<Self> {
        Ok(Units { points: Standardise::of(scope, data)?, kind: scope.kind(), device: scope.device() })
    }

    /// `x: [batch, ...]` as a data set delivers it to the input of networks: in the kind and on the device of the
    /// parameters.
    pub fn to_network(&self, x: &Tensor) -> Tensor {
        match &self.points {
            Some(points) => points.forward(x),
            None => x.to_kind(self.kind).to_device(self.device),
        }
    }

    /// The output of networks to data: points in `f64`, images clamped to [-1, 1].
    pub fn to_data(&self, x: &Tensor) -> Tensor {
        match &self.points {
            Some(points) => points.inverse(x),
            None => x.clamp(-1.0, 1.0),
        }
    }

    /// [`Units::to_data`] without the clamp, for states on the way to a sample.
    pub fn to_data_unclamped(&self, x: &Tensor) -> Tensor {
        match &self.points {
            Some(points) => points.inverse(x),
            None => x.contiguous(),
        }
    }

    /// ln p of rows in the units of networks to ln p of the data, both `[batch]` in nats: of points in `f64`.
    pub fn log_prob_of_data(&self, log_prob: Tensor) -> Tensor {
        match &self.points {
            Some(points) => log_prob.to_kind(Kind::Double) + points.log_det(),
            None => log_prob,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::params::Params;
    use crate::testing::assert_close;

    fn units(data: &Dataset) -> Units {
        Units::new(&Params::new(Kind::Float, Device::Cpu).root(), &data.spec).unwrap()
    }

    #[test]
    fn points_are_standardised_and_densities_keep_their_volume() {
        let x = Tensor::from_slice(&[1.0, 10.0, 3.0, 30.0, 5.0, 20.0]).view([3, 2]);
        let data = Dataset::from_tensor("points", x.shallow_clone()).unwrap();
        let units = units(&data);
        let z = units.to_network(&x);
        assert_eq!(z.kind(), Kind::Float);
        assert_close(&z.mean_dim(0, false, Kind::Double), &Tensor::from_slice(&[0.0, 0.0]), 0.0, 1e-6);
        assert_close(&units.to_data(&z), &x, 1e-6, 0.0);
        assert_close(&units.to_data_unclamped(&z), &x, 1e-6, 0.0);
        let volume = -data.spec.std.iter().map(|std| std.ln()).sum::<f64>();
        let of_data = units.log_prob_of_data(Tensor::zeros([3], (Kind::Float, Device::Cpu)));
        assert_close(&of_data, &Tensor::from_slice(&[volume; 3]), 1e-12, 0.0);
    }

    #[test]
    fn images_stay_as_they_are_and_samples_are_clamped() {
        let images = Tensor::zeros([2, 1, 2, 2], (Kind::Uint8, Device::Cpu));
        let units = units(&Dataset::from_tensor("images", images).unwrap());
        let x = Tensor::from_slice(&[-1.5f32, -1.0, 0.25, 2.0]).view([1, 1, 2, 2]);
        assert_eq!(units.to_network(&x), x);
        assert_eq!(units.to_data(&x), Tensor::from_slice(&[-1f32, -1.0, 0.25, 1.0]).view([1, 1, 2, 2]));
        assert_eq!(units.to_data_unclamped(&x), x);
        assert_eq!(units.log_prob_of_data(x.shallow_clone()), x);
    }
}
