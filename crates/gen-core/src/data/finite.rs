use tch::Tensor;

use crate::error::Result;

/// A value of a table and its place, counted from 0.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The row.
    pub row: usize,
    /// The column.
    pub column: usize,
    /// The value.
    pub value: f64,
}

/// The first value of `x: [n, columns]`, row by row, that is not finite; `None` for integers and for images.
///
/// # Errors
/// When libtorch cannot read the values.
pub fn not_finite(x: &Tensor) -> Result<Option<Place>> {
    if x.dim() != 2 || !x.is_floating_point() || bool::try_from(x.isfinite().all())? {
        return Ok(None);
    }
    // `nonzero` lists the places row by row.
    let places = x.isfinite().logical_not().nonzero();
    let [row, column] = [0, 1].map(|axis| places.int64_value(&[0, axis]));
    let value = x.double_value(&[row, column]);
    Ok(Some(Place { row: row as usize, column: column as usize, value }))
}
