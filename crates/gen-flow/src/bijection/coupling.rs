use gen_core::native::{Order, Way};
use tch::{Device, Kind, Tensor};

use super::{Bijection, Given, join, split, sum_per_row};
use crate::conditioner::Conditioner;
use crate::univariate::Univariate;

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

    /// Keeps the last half: what [`Mask::first_half`] transforms.
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

/// The two parts of what goes through a coupling, or all of what goes through an autoregressive layer.
#[derive(Debug)]
pub struct Halves {
    /// What stays: `[batch, kept, ...]`; `None` where everything moves.
    pub same: Option<Tensor>,
    /// What moves: `[batch, size - kept, ...]`.
    pub rest: Tensor,
    /// Which of the two comes first.
    pub order: Order,
}

impl Halves {
    /// Everything moves.
    pub fn all(x: &Tensor) -> Self {
        Halves { same: None, rest: x.shallow_clone(), order: Order::SameFirst }
    }
    /// The coupling's result: what stayed and what `moved`.
    pub fn join(&self, moved: &Tensor) -> Tensor {
        match (&self.same, self.order) {
            (None, _) => moved.shallow_clone(),
            (Some(same), Order::SameFirst) => join(same, moved),
            (Some(same), Order::MovedFirst) => join(moved, same),
        }
    }
}

/// A coupling layer: the kept values go through unchanged, and decide what becomes of the others,
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
/// use gen_flow::bijection::{Bijection, Coupling, Given, Mask};
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
    /// A coupling whose conditioner takes what the mask keeps and gives
    /// [`Univariate::parameters`] numbers for each value that it does not.
    pub fn new(mask: Mask, univariate: U, conditioner: Box<dyn Conditioner>) -> Self {
        Coupling { mask, univariate, conditioner }
    }

    fn map(&self, x: &Tensor, given: Given<'_>, way: Way) -> (Tensor, Tensor) {
        let (same, rest, order) = match &self.mask {
            Mask::First { kept, .. } => {
                let [same, rest] = split(x, *kept);
                (same, rest, Order::SameFirst)
            }
            Mask::Last { kept, of } => {
                let [rest, same] = split(x, of - kept);
                (same, rest, Order::MovedFirst)
            }
            Mask::Checkerboard { kept } => return self.map_checkerboard(kept, x, given, way),
        };
        let parameters = self.conditioner.forward(&same, given);
        self.univariate.couple(&Halves { same: Some(same), rest, order }, &parameters, way)
    }

    fn map_checkerboard(&self, kept: &Tensor, x: &Tensor, given: Given<'_>, way: Way) -> (Tensor, Tensor) {
        let zero = x.zeros_like();
        let parameters = self.conditioner.forward(&x.where_self(kept, &zero), given);
        let (moved, log_slope) = match way {
            Way::Forward => self.univariate.forward(x, &parameters),
            Way::Inverse => self.univariate.inverse(x, &parameters),
        };
        (x.where_self(kept, &moved), sum_per_row(&zero.where_self(kept, &log_slope)))
    }
}

impl<U: Univariate> Bijection for Coupling<U> {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.map(x, given, Way::Forward)
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        self.map(y, given, Way::Inverse)
    }

    fn is_step(&self) -> bool {
        true
    }
}
