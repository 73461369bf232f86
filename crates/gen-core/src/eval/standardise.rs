use tch::{Device, Kind, Tensor};

use crate::data::{Dataset, Values};

/// The units of a table's columns: the mean and the standard deviation of each over the training rows, so that a column of
/// large numbers does not decide alone how far two rows are apart.
///
/// A column that is the same in every row keeps its own unit.
#[derive(Debug)]
pub(super) struct Units {
    /// `f64 [1, columns]`
    mean: Tensor,
    /// `f64 [1, columns]`
    deviation: Tensor,
}

impl Units {
    /// Those of a table's training rows; `None` for images.
    pub(super) fn of(data: &Dataset) -> Option<Self> {
        if data.spec.values != Values::Continuous || data.train.is_empty() {
            return None;
        }
        let x = host(&data.train.x);
        let mean = x.mean_dim(0, true, Kind::Double);
        let deviation = (&x - &mean).square().mean_dim(0, true, Kind::Double).sqrt();
        let varies = x.amax([0i64].as_slice(), true).gt_tensor(&x.amin([0i64].as_slice(), true));
        let deviation = deviation.where_self(&varies.logical_and(&deviation.gt(0.0)), &mean.ones_like());
        Some(Units { mean, deviation })
    }

    /// Rows `[n, columns]` in these units, `f64` on the host.
    pub(super) fn standardise(&self, x: &Tensor) -> Tensor {
        (host(x) - &self.mean) / &self.deviation
    }

    /// The way back.
    pub(super) fn restore(&self, x: &Tensor) -> Tensor {
        x * &self.deviation + &self.mean
    }

    /// ln of what a volume in these units is in the data's own.
    pub(super) fn log_volume(&self) -> f64 {
        self.deviation.log().sum(Kind::Double).double_value(&[])
    }
}

fn host(x: &Tensor) -> Tensor {
    x.to_device(Device::Cpu).to_kind(Kind::Double)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;
    use crate::testing::assert_close;

    #[test]
    fn columns_of_any_size_and_constant_ones() {
        let x = Tensor::from_slice(&[1e8, 3e-9, 7.0, 3e8, 1e-9, 7.0]).view([2, 3]);
        let data =
            Dataset::from_splits("x", Split::unlabelled(x.shallow_clone()), None, None, Vec::new()).unwrap();
        let units = Units::of(&data).unwrap();
        let z = units.standardise(&x);
        assert_close(&z, &Tensor::from_slice(&[-1.0, 1.0, 0.0, 1.0, -1.0, 0.0]).view([2, 3]), 1e-6, 1e-12);
        assert_close(
            &units.restore(&z),
            &units.restore(&units.standardise(&x.to_kind(Kind::Float))),
            1e-6,
            0.0,
        );
        assert!((units.log_volume() - 0.1f64.ln()).abs() < 1e-6);
    }
}
