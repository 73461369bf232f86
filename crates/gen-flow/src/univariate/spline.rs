use gen_core::native::{self, Coupled, Ends, Knots, Mapped, Spline, Way};
use tch::Tensor;

use super::map::{Partition, Univariate};

/// A monotone rational-quadratic spline: K bins of an interval onto K others, and a straight line outside. In the bin
/// that begins at (xₖ, yₖ), with ξ = (x - xₖ) / w, s = h / w and slopes δ at the knots,
///
/// > y = yₖ + h (s ξ² + δₖ ξ (1 - ξ)) / (s + (δₖ + δₖ₊₁ - 2 s) ξ (1 - ξ))
///
/// Its parameters are the raw widths, heights and slopes. Both directions are closed formulas, evaluated in one pass
/// over memory with their gradients.
///
/// Durkan et al. 2019 (Neural Spline Flows), section 3.1, equations 4 to 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RationalQuadratic {
    spline: Spline,
}

impl RationalQuadratic {
    /// With `bins` bins of [-bound, bound] and the identity outside. Raw numbers are softly clipped as in the library
    /// zuko, so that no bin is narrower than a thousandth of the widest and no slope lies outside of (0.001, 1000).
    /// With zero parameters it is the identity.
    ///
    /// # Panics
    /// When there is no bin, or more than [`Spline::MOST_BINS`], or the bound is not positive.
    pub fn new(bins: i64, bound: f64) -> Self {
        let knots = Knots::SoftClip { slope: 1e-3 };
        Self::of(Spline { bins, low: -bound, high: bound, knots, ends: Ends::Unit })
    }

    /// Any spline: of another interval, with other ends, with the conventions of another library.
    ///
    /// # Panics
    /// When there is no bin, or more than [`Spline::MOST_BINS`], or the interval is empty.
    pub fn of(spline: Spline) -> Self {
        let (bins, most) = (spline.bins, Spline::MOST_BINS);
        assert!((1..=most).contains(&bins), "a spline has 1 to {most} bins, found {bins}");
        assert!(spline.low < spline.high, "an interval goes up, found [{}, {}]", spline.low, spline.high);
        RationalQuadratic { spline }
    }

    #[track_caller]
    fn map(&self, x: &Tensor, parameters: &Tensor, way: Way) -> (Tensor, Tensor) {
        let Mapped { values, log_slope } =
            native::spline(x, parameters, &self.spline, way).unwrap_or_else(|error| panic!("{error}"));
        (values, log_slope)
    }
}

impl Univariate for RationalQuadratic {
    fn parameters(&self) -> i64 {
        self.spline.parameters()
    }

    fn forward(&self, x: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        self.map(x, parameters, Way::Forward)
    }

    fn inverse(&self, y: &Tensor, parameters: &Tensor) -> (Tensor, Tensor) {
        self.map(y, parameters, Way::Inverse)
    }

    fn couple(&self, x: &Partition, parameters: &Tensor, way: Way) -> (Tensor, Tensor) {
        let Partition { kept, moving, order } = x;
        let Coupled { values, log_det } =
            native::spline_coupling(kept.as_ref(), moving, parameters, &self.spline, *order, way)
                .unwrap_or_else(|error| panic!("{error}"));
        (values, log_det)
    }

    fn native(&self) -> Option<native::Univariate<'_>> {
        Some(native::Univariate::Spline(&self.spline))
    }
}
