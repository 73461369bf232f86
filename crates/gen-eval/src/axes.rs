//! Principal axes of rows.

use tch::{Device, Kind, Tensor};

use gen_core::{Error, Result};

/// Limit on the dimensions of a covariance, and on the rows of the matrix of their products that replaces it.
const MOST_DIMENSIONS: i64 = 4096;
/// Rows converted to f64 at a time.
const CHUNK: i64 = 2000;

/// The eigenvectors and eigenvalues of a covariance, largest first.
pub(crate) struct PrincipalAxes {
    /// `[1, dimensions]`
    pub(crate) mean: Tensor,
    /// `[axes]`, all positive
    pub(crate) variances: Tensor,
    /// `[dimensions, axes]`, orthonormal
    pub(crate) directions: Tensor,
}

impl PrincipalAxes {
    /// The axes of the rows of `x: [n, ...]` with nonzero variance.
    pub(crate) fn of(x: &Tensor) -> Result<Self> {
        let axes = Self::if_any(x)?;
        if axes.variances.numel() == 0 {
            return Err(Error::invalid("all rows are equal: there is no covariance"));
        }
        Ok(axes)
    }

    /// As [`PrincipalAxes::of`], but without axes and without an error if all rows are equal.
    pub(crate) fn if_any(x: &Tensor) -> Result<Self> {
        let n = x.size().first().copied().unwrap_or(0);
        if n < 2 {
            return Err(Error::invalid(format!("a covariance needs at least 2 rows, found {n}")));
        }
        let dimensions = x.numel() as i64 / n;
        if dimensions <= n.min(MOST_DIMENSIONS) { of_columns(x) } else { of_rows(x) }
    }

    /// Coordinates along the axes of rows `[m, dimensions]`.
    pub(crate) fn project(&self, x: &Tensor) -> Tensor {
        (x - &self.mean).matmul(&self.directions)
    }
}

/// Rows `[n, dimensions]` in f64 on the host.
pub(crate) fn rows(x: &Tensor) -> Tensor {
    x.flatten(1, -1).to_device(Device::Cpu).to_kind(Kind::Double)
}

/// Axes from the covariance of the dimensions, in two passes over the rows.
fn of_columns(x: &Tensor) -> Result<PrincipalAxes> {
    let n = x.size()[0] as f64;
    let parts = x.split(CHUNK, 0);
    let sums = parts.iter().map(|part| rows(part).sum_dim_intlist([0i64].as_slice(), true, Kind::Double));
    let mean = sums.reduce(|a, b| a + b).expect("there are rows") / n;
    let products = parts.iter().map(|part| {
        let centred = rows(part) - &mean;
        centred.tr().matmul(&centred)
    });
    let covariance = products.reduce(|a, b| a + b).expect("there are rows") / (n - 1.0);
    let (variances, directions) = descending(&covariance)?;
    Ok(PrincipalAxes { mean, variances, directions })
}

/// Axes from the products of the rows, of an even selection if there are too many.
fn of_rows(x: &Tensor) -> Result<PrincipalAxes> {
    let n = x.size()[0];
    let step = (n + MOST_DIMENSIONS - 1) / MOST_DIMENSIONS;
    let kept = Tensor::arange_start_step(0, n, step, (Kind::Int64, x.device()));
    let x = rows(&x.index_select(0, &kept));
    let mean = x.mean_dim(0, true, Kind::Double);
    let centred = (&x - &mean) / (x.size()[0] as f64 - 1.0).sqrt();
    let (variances, vectors) = descending(&centred.matmul(&centred.tr()))?;
    let directions = centred.tr().matmul(&vectors) / variances.sqrt();
    Ok(PrincipalAxes { mean, variances, directions })
}

/// Eigenvalues above rounding in descending order, and their eigenvectors.
fn descending(symmetric: &Tensor) -> Result<(Tensor, Tensor)> {
    let (values, vectors) = symmetric.f_linalg_eigh("L")?;
    let (values, vectors) = (values.flip([0]), vectors.flip([1]));
    let largest = values.double_value(&[0]);
    let rank = values.gt((largest * 1e-12).max(0.0)).sum(Kind::Int64).int64_value(&[]);
    Ok((values.narrow(0, 0, rank), vectors.narrow(1, 0, rank)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gen_core::testing::assert_close;

    fn images(n: i64, pixels: i64) -> Tensor {
        let i = Tensor::arange(n * pixels, (Kind::Double, Device::Cpu));
        let x = (&i * &i * 0.37).sin() * 40.0 + (&i * 0.013).cos() * 60.0 + 128.0;
        x.to_kind(Kind::Uint8).view([n, pixels])
    }

    #[test]
    fn axes_rebuild_the_covariance() {
        for (n, pixels) in [(5000, 7), (9, 30)] {
            let x = images(n, pixels);
            let axes = PrincipalAxes::of(&x).unwrap();
            assert_eq!(axes.variances.numel() as i64, pixels.min(n - 1));
            let covariance = (&axes.directions * &axes.variances).matmul(&axes.directions.tr());
            let expected = rows(&x).tr().cov(1, None::<Tensor>, None::<Tensor>);
            assert_close(&covariance, &expected, 1e-9, 1e-8);
        }
    }

    #[test]
    fn equal_rows_have_none() {
        let error = PrincipalAxes::of(&Tensor::full([5, 4], 7, (Kind::Uint8, Device::Cpu))).err().unwrap();
        assert_eq!(error.to_string(), "all rows are equal: there is no covariance");
    }
}
