//! Checks and sums of rows that many metrics need.

use tch::{Device, Kind, Tensor};

use gen_core::{Error, Result};

/// The rows `[n, features]` in f64 on the host.
///
/// # Errors
/// When there are fewer than `least` rows or no features, or a value is not finite.
pub(super) fn checked(metric: &str, side: &str, x: &Tensor, least: i64) -> Result<Tensor> {
    match x.size()[..] {
        [n, d] if n >= least && d >= 1 => {
            let x = x.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
            if !bool::try_from(x.isfinite().all())? {
                return Err(Error::invalid(format!("{metric}: the {side} features are not all finite")));
            }
            Ok(x)
        }
        _ => Err(Error::invalid(format!(
            "{metric} needs at least {least} {side} rows as [n, features]; found {:?}",
            x.size()
        ))),
    }
}

/// Fails where sets of rows, each with its name, differ in their number of features.
pub(super) fn same_width(metric: &str, sides: &[(&str, &Tensor)]) -> Result<()> {
    for pair in sides.windows(2) {
        let [(a, x), (b, y)] = pair else { unreachable!("windows of two") };
        let (d, e) = (x.size()[1], y.size()[1]);
        if d != e {
            return Err(Error::invalid(format!("{metric}: {a} rows have {d} features, {b} rows {e}")));
        }
    }
    Ok(())
}

/// Both sets by [`checked`], with the same number of features.
pub(super) fn checked_pair(metric: &str, real: &Tensor, fake: &Tensor, least: i64) -> Result<(Tensor, Tensor)> {
    let (real, fake) = (checked(metric, "real", real, least)?, checked(metric, "fake", fake, least)?);
    same_width(metric, &[("real", &real), ("fake", &fake)])?;
    Ok((real, fake))
}

pub(super) fn sum(x: &Tensor) -> f64 {
    x.sum(Kind::Double).double_value(&[])
}

pub(super) fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

/// The sum of each row: `[n, m]` to `[n]`.
pub(super) fn row_sums(x: &Tensor) -> Tensor {
    x.sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
}

/// All values, in row-major order.
pub(super) fn values(x: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::try_from(x.to_kind(Kind::Double).reshape([-1]))?)
}

/// Euclidean distances `[n, m]` by direct differences: equal rows are exactly 0 apart.
pub(super) fn distances(a: &Tensor, b: &Tensor) -> Tensor {
    const WITHOUT_PRODUCTS: i64 = 2;
    Tensor::cdist(a, b, 2.0, WITHOUT_PRODUCTS)
}
