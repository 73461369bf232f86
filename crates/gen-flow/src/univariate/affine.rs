use gen_core::native::{self, Coupled, Way};
use gen_core::params::{Init, Scope};
use tch::{Kind, Tensor};

use super::map::{Partition, Univariate};
use crate::tensor::{halves, join};

/// y = exp(s) x + t, with parameters (a, t) of which s is a function: the constructors.
#[derive(Debug)]
pub struct Affine {
    scale: Scale,
}

/// How the raw number a becomes the log-slope s.
#[derive(Debug)]
enum Scale {
    /// s = a
    Exp,
    /// s = c tanh a
    Tanh { bound: Tensor },
    /// s = a / (1 + |a / c|)
    SoftClip { bound: f64 },
    /// exp s = σ(a + offset) + floor
    Sigmoid { offset: f64, floor: f64 },
    /// exp s = ln(1 + eᵃ) + floor
    Softplus { floor: f64 },
}

impl Affine {
    /// s = a: Dinh et al. 2017 (RealNVP), equation 8, as it stands, but for an s so large that the exponential would
    /// overflow. With zero parameters it is the identity.
    pub fn unbounded() -> Self {
        Affine { scale: Scale::Exp }
    }

    /// s = c tanh a with one learned number c, which starts at 1: RealNVP, section 3.2 and its code. With zero
    /// parameters it is the identity.
    pub fn bounded(scope: Scope<'_>) -> Self {
        Affine { scale: Scale::Tanh { bound: scope.parameter("log_scale_bound", &[1], Init::ONES) } }
    }

    /// s = a / (1 + |a / c|), in (-c, c): the softened clipping of the library zuko, where c is ln 1000. With zero
    /// parameters it is the identity.
    ///
    /// # Panics
    /// When c is not positive.
    pub fn soft_clip(bound: f64) -> Self {
        assert!(bound > 0.0, "a bound is positive, found {bound}");
        Affine { scale: Scale::SoftClip { bound } }
    }

    /// exp s = σ(a + offset) + floor. Glow's code (Kingma & Dhariwal 2018) has offset 2 and floor 0; it shifts before
    /// it scales, y = (x + b) exp s, which is this map with t = b exp s. The library nflows has 2 and 0.001.
    ///
    /// # Panics
    /// When the floor is negative.
    pub fn sigmoid(offset: f64, floor: f64) -> Self {
        assert!(floor >= 0.0, "a slope is not negative, found a floor of {floor}");
        Affine { scale: Scale::Sigmoid { offset, floor } }
    }

    /// exp s = ln(1 + eᵃ) + floor: the masked autoregressive flow of the library nflows, with a floor of 0.001.
    ///
    /// # Panics
    /// When the floor is negative.
    pub fn softplus(floor: f64) -> Self {
        assert!(floor > 0.0, "the floor of a slope is positive, found {floor}");
        Affine { scale: Scale::Softplus { floor } }
    }

    /// s and t.
    fn scale_and_shift(&self, parameters: &Tensor) -> (Tensor, Tensor) {
        let [raw, shift] = halves(parameters, 1);
        let log_scale = match &self.scale {
            Scale::Exp => within_range(&raw),
            Scale::Tanh { bound } => raw.tanh() * bound,
            Scale::SoftClip { bound } => &raw / ((&raw / *bound).abs() + 1.0),
            // Without a floor the sigmoid could be rounded to 0 before the logarithm.
            Scale::Sigmoid { offset, floor: 0.0 } => within_range(&(raw + *offset).log_sigmoid()),
            Scale::Sigmoid { offset, floor } => ((raw + *offset).sigmoid() + *floor).log(),
            Scale::Softplus { floor } => (raw.softplus() + *floor).log(),
        };
        (log_scale, shift)
    }

    /// The image of each value, and s or -s.
    fn map(&self, x: &Tensor, parameters: &Tensor, way: Way) -> (Tensor, Tensor) {
        let (log_scale, shift) = self.scale_and_shift(parameters);
        let (values, _) = coupling(&Partition::all(x), &join(&log_scale, &shift), None, way);
        (values, if way == Way::Forward { log_scale } else { -log_scale })
    }
}

/// The native coupling with `parameters` (s, t), or (a, t) and the `bound` c of s = c tanh a.
#[track_caller]
fn coupling(x: &Partition, parameters: &Tensor, bound: Option<&Tensor>, way: Way) -> (Tensor, Tensor) {
    let Partition { kept, moving, order } = x;
    let Coupled { values, log_det } = native::affine_coupling(kept.as_ref(), moving, parameters, bound, *order, way)
        .unwrap_or_else(|error| panic!("{error}"));
    (values, log_det)
}

/// `log_scale` where neither its exponential nor the inverse of that overflows.
fn within_range(log_scale: &Tensor) -> Tensor {
    let largest = if log_scale.kind() == Kind::Double { 600.0 } else { 60.0 };
    log_scale.clamp(-largest, largest)
}

impl Univariate for Affine {
    fn parameters(&self) -> i64 {
        2
    }

    fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        self.map(x, parameters, Way::Forward)
    }

    fn inverse(&self, y: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        self.map(y, parameters, Way::Inverse)
    }

    fn couple(&self, x: &Partition, parameters: &Tensor, way: Way) -> (Tensor, Tensor) {
        if let Scale::Tanh { bound } = &self.scale {
            return coupling(x, parameters, Some(bound), way);
        }
        let (log_scale, shift) = self.scale_and_shift(parameters);
        coupling(x, &join(&log_scale, &shift), None, way)
    }

    fn native(&self) -> Option<native::Univariate<'_>> {
        match &self.scale {
            Scale::Tanh { bound } => Some(native::Univariate::Affine { bound: Some(bound) }),
            _ => None,
        }
    }
}
