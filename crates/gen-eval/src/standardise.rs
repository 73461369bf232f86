use tch::{Device, Kind, Tensor};

use gen_core::data::{Dataset, Values, column_moments};

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
        let [mean, deviation] = column_moments(&host(&data.train.x)).map(|row| row.unsqueeze(0));
        let deviation = &deviation + deviation.eq(0.0);
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

    /// Whose squares are infinite, or 0.
    #[test]
    fn columns_of_extreme_size() {
        let z = Tensor::from_slice(&[-1.0, 0.5, 2.0, 3.0]);
        let scales = [1.0, 1e200, 1e-200, 1e-300];
        let mut columns: Vec<Tensor> = scales.iter().map(|scale| &z * *scale).collect();
        columns.push(z.ones_like() * 1e300);
        let x = Tensor::stack(&columns, 1);
        let data =
            Dataset::from_splits("x", Split::unlabelled(x.shallow_clone()), None, None, Vec::new()).unwrap();
        let units = Units::of(&data).unwrap();
        let standardised = units.standardise(&x);
        for (column, scale) in scales.iter().enumerate() {
            let own = standardised.select(1, column as i64);
            assert_close(&own, &standardised.select(1, 0), 1e-12, 1e-12);
            let restored = units.restore(&standardised).select(1, column as i64);
            assert_close(&(restored / *scale), &z, 1e-12, 1e-12);
        }
        assert_eq!(standardised.select(1, 4), z.zeros_like());
        let expected = 4.0 * z.std(false).double_value(&[]).ln() + (1e200f64 * 1e-200).ln() + 1e-300f64.ln();
        assert!((units.log_volume() - expected).abs() < 1e-9, "{}", units.log_volume());
    }
}
