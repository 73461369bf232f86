use gen_core::distributions::sum_rows;
use gen_core::native::{Order, Way};
use tch::{Device, Kind, Tensor};

use super::layer::{Bijection, Layer};
use crate::conditioner::Conditioner;
use crate::given::Given;
use crate::tensor::split;
use crate::univariate::{Partition, Univariate};

/// Which values a coupling keeps, and conditions on; the others it transforms.
#[derive(Debug)]
pub enum Mask {
    /// The first of the coordinates (channels, for images) are kept.
    First {
        /// How many.
        kept: i64,
        /// Of how many.
        of: i64,
    },
    /// The last of the coordinates (channels) are kept.
    Last {
        /// How many.
        kept: i64,
        /// Of how many.
        of: i64,
    },
    /// The pixels of one colour of a chessboard are kept, in each channel.
    Checkerboard {
        /// `bool [height, width]`: true where kept.
        kept: Tensor,
    },
}

impl Mask {
    /// Keeps the first half of `size` coordinates or channels; of an odd number, the smaller half.
    pub fn first_half(size: i64) -> Self {
        Mask::First { kept: size / 2, of: size }
    }

    /// Keeps the last half, which [`Mask::first_half`] transforms.
    pub fn last_half(size: i64) -> Self {
        Mask::Last { kept: size - size / 2, of: size }
    }

    /// [`Mask::first_half`] for even layers, [`Mask::last_half`] for odd ones, so that two layers transform all.
    pub fn alternating(size: i64, layer: usize) -> Self {
        if layer.is_multiple_of(2) { Self::first_half(size) } else { Self::last_half(size) }
    }

    /// Keeps the pixels (i, j) of a `height` × `width` image where i + j is even, or odd.
    pub fn checkerboard(height: i64, width: i64, odd: bool, device: Device) -> Self {
        let index = |n| Tensor::arange(n, (Kind::Int64, device));
        let colour = (index(height).unsqueeze(1) + index(width)).remainder(2);
        Mask::Checkerboard { kept: colour.eq(i64::from(odd)) }
    }

    /// How many coordinates or channels the conditioner sees, of `size`.
    pub fn kept(&self, size: i64) -> i64 {
        match self {
            Mask::First { kept, .. } | Mask::Last { kept, .. } => *kept,
            Mask::Checkerboard { .. } => size,
        }
    }

    /// How many coordinates or channels of `size` the conditioner gives parameters for.
    pub fn transformed(&self, size: i64) -> i64 {
        match self {
            Mask::First { kept, .. } | Mask::Last { kept, .. } => size - kept,
            Mask::Checkerboard { .. } => size,
        }
    }
}

/// A coupling layer: the kept values go through unchanged, and give the parameters of the others,
///
/// > y_kept = x_kept, y_rest = τ(x_rest; θ), θ = conditioner(x_kept), log|det| = Σ ln|∂τ/∂x|
///
/// where τ is a [`Univariate`] map, applied to each value with parameters of its own. The conditioner never has to
/// be inverted, so it may be any network.
///
/// `x: [batch, size]` or `[batch, size, height, width]`. A [`Mask::Checkerboard`] shows the conditioner all
/// channels with zeros in place of the values that it must not see.
///
/// Dinh et al. 2015 (NICE), section 3.2; Dinh et al. 2017 (RealNVP), sections 3.2 to 3.5.
///
/// ```
/// use gen_core::params::Params;
/// use gen_flow::Given;
/// use gen_flow::bijection::{Bijection, Coupling, Mask};
/// use gen_flow::conditioner::MlpConditioner;
/// use gen_flow::univariate::Affine;
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let mask = Mask::first_half(3); // keeps one coordinate, transforms two
/// let conditioner = MlpConditioner::new(&params.root() / "net", 1, 0, &[32, 32], 2 * 2);
/// let coupling = Coupling::new(mask, Affine::bounded(params.root()), Box::new(conditioner));
/// let x = Tensor::randn([5, 3], (Kind::Double, Device::Cpu));
/// let (y, log_det) = coupling.forward(&x, Given::NOTHING);
/// assert_eq!((y.size(), log_det.size()), (vec![5, 3], vec![5]));
/// ```
#[derive(Debug)]
pub struct Coupling<U> {
    mask: Mask,
    univariate: U,
    conditioner: Box<dyn Conditioner>,
}

impl<U: Univariate> Coupling<U> {
    /// A coupling whose conditioner takes the values that the mask keeps and gives
    /// [`Univariate::parameters`] numbers for each value that it does not.
    pub fn new(mask: Mask, univariate: U, conditioner: Box<dyn Conditioner>) -> Self {
        Coupling { mask, univariate, conditioner }
    }

    /// A coupling of `size` coordinates or channels, whose `conditioner` is built from so many of them to so many
    /// outputs.
    pub fn of_size(
        mask: Mask,
        size: i64,
        univariate: U,
        conditioner: impl FnOnce(i64, i64) -> Box<dyn Conditioner>,
    ) -> Self {
        let conditioner = conditioner(mask.kept(size), univariate.parameters() * mask.transformed(size));
        Self::new(mask, univariate, conditioner)
    }

    fn map(&self, x: &Tensor, given: Given<'_>, way: Way) -> (Tensor, Tensor) {
        let (kept, moving, order) = match &self.mask {
            Mask::First { kept, .. } => {
                let [kept, moving] = split(x, *kept);
                (kept, moving, Order::SameFirst)
            }
            Mask::Last { kept, of } => {
                let [moving, kept] = split(x, of - kept);
                (kept, moving, Order::MovedFirst)
            }
            Mask::Checkerboard { kept } => return self.map_checkerboard(kept, x, given, way),
        };
        let parameters = self.conditioner.forward(&kept, given);
        self.univariate.couple(&Partition { kept: Some(kept), moving, order }, &parameters, way)
    }

    fn map_checkerboard(&self, kept: &Tensor, x: &Tensor, given: Given<'_>, way: Way) -> (Tensor, Tensor) {
        let zero = x.zeros_like();
        let parameters = self.conditioner.forward(&x.where_self(kept, &zero), given);
        let (moved, log_slope) = match way {
            Way::Forward => self.univariate.forward(x, &parameters),
            Way::Inverse => self.univariate.inverse(x, &parameters),
        };
        (x.where_self(kept, &moved), sum_rows(&zero.where_self(kept, &log_slope)))
    }
}

impl<U: Univariate> Bijection for Coupling<U> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.map(x, given, Way::Forward)
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.map(y, given, Way::Inverse)
    }
}

impl<U: Univariate> Layer for Coupling<U> {
    fn is_step(&self) -> bool {
        true
    }
}
