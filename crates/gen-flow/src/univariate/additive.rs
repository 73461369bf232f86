use tch::Tensor;

use super::map::Univariate;

/// y = x + t, with the parameter t: volumes stay.
///
/// Dinh et al. 2015 (NICE), section 3.2.
#[derive(Debug, Clone, Copy, Default)]
pub struct Additive;

impl Univariate for Additive {
    fn parameters(&self) -> i64 {
        1
    }

    fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        (x + parameters, x.zeros_like())
    }

    fn inverse(&self, y: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        (y - parameters, y.zeros_like())
    }
}
