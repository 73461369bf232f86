use tch::{Device, Kind, Tensor};

use gen_core::data::{ColumnMoments, Dataset, Values};

/// The units of a table's columns: the mean and the standard deviation of each over the training rows, so that a column
/// of large numbers does not decide alone how far two rows are apart.
#[derive(Debug)]
pub(super) struct Units(ColumnMoments);

impl Units {
    /// Of a table's training rows; `None` for images.
    pub(super) fn of(data: &Dataset) -> Option<Self> {
        let is_table = data.spec.values == Values::Continuous && !data.train.is_empty();
        is_table.then(|| Units(ColumnMoments::of(&host(&data.train.x))))
    }

    /// Rows `[n, columns]` in these units, `f64` on the host.
    pub(super) fn standardise(&self, x: &Tensor) -> Tensor {
        self.0.standardise(&host(x))
    }

    /// The inverse of [`Units::standardise`].
    pub(super) fn restore(&self, x: &Tensor) -> Tensor {
        self.0.restore(x)
    }

    /// ln of the volume of a unit cell in the units of the data.
    pub(super) fn log_volume(&self) -> f64 {
        -self.0.log_det().double_value(&[])
    }
}

fn host(x: &Tensor) -> Tensor {
    x.to_device(Device::Cpu).to_kind(Kind::Double)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::data::Split;
    use gen_core::testing::assert_close;

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
