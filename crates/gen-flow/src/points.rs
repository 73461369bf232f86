//! What flows of points share: standardised coordinates, layers, and how the layers take turns.

use gen_core::data::{DataSpec, Shape};
use gen_core::native::Spline;
use gen_core::optim::Schedule;
use gen_core::params::{Params, Scope};
use gen_core::rng::{self, Purpose};
use gen_core::train::TrainConfig;
use gen_core::{Error, Result};

use crate::bijection::{Bijection, Chain, Coupling, Mask, Permutation, Standardise};
use crate::conditioner::MlpConditioner;
use crate::images::at_least_one;
use crate::univariate::Univariate;

/// Standardised coordinates, then `count` layers, each registered in a place of its own under `name`.
///
/// # Errors
/// When the data have no usable mean and deviation.
pub(crate) fn layers(
    params: &Params,
    data: &DataSpec,
    name: &str,
    count: usize,
    mut layer: impl FnMut(Scope<'_>, usize) -> Vec<Box<dyn Bijection>>,
) -> Result<Chain> {
    let root = params.root();
    let mut parts: Vec<Box<dyn Bijection>> =
        vec![Box::new(Standardise::new(&root / "standardise", &data.mean, &data.std)?)];
    for i in 0..count {
        parts.extend(layer(&root / format!("{name}.{i}"), i));
    }
    Ok(Chain::new(parts))
}

/// The dimension of points, of at least `least`.
///
/// # Errors
/// When the data are images, or have fewer coordinates.
pub(crate) fn dimension(model: &str, data: &DataSpec, least: i64) -> Result<i64> {
    match data.shape {
        Shape::Points { dimension } if dimension >= least => Ok(dimension),
        Shape::Points { dimension } => Err(Error::invalid(format!(
            "`{model}` needs points of at least {least} coordinates, one to keep and one to transform; `{}` has {dimension}",
            data.name
        ))),
        Shape::Image { .. } => Err(Error::invalid(format!(
            "`{model}` is a model of points, `{}` has images: `realnvp`, `nsf`, `glow`, `flow++` and `tarflow` take them",
            data.name
        ))),
    }
}

/// A coupling of coordinates by `univariate`, which keeps the first and the last half of them in turn. With more than
/// two, a random order before every second layer gives each one new partners.
pub(crate) fn coupling(
    place: &Scope<'_>,
    univariate: impl Univariate + 'static,
    layer: usize,
    hidden: &[i64],
    dimension: i64,
) -> Vec<Box<dyn Bijection>> {
    let mut parts: Vec<Box<dyn Bijection>> = Vec::new();
    if dimension > 2 && layer > 0 && layer.is_multiple_of(2) {
        parts.push(Box::new(Permutation::random(place / "permutation", dimension)));
    }
    let mask = Mask::alternating(dimension, layer);
    let outputs = univariate.parameters() * mask.transformed(dimension);
    let net = MlpConditioner::new(place / "net", mask.kept(dimension), 0, hidden, outputs);
    parts.push(Box::new(Coupling::new(mask, univariate, Box::new(net))));
    parts
}

/// The degrees of `dimension` values in an autoregressive layer: forwards and backwards in turn, and with more than two
/// values in another order in every second pair of layers, so that each has new values before it. The orders are always
/// the same ones: they are part of the architecture, not of its weights.
pub(crate) fn order(dimension: i64, layer: usize) -> Vec<i64> {
    let mut degrees: Vec<i64> = if dimension > 2 && layer % 4 >= 2 {
        let places = rng::permutation(dimension as usize, 0, Purpose::Init, (layer / 4) as u64);
        places.into_iter().map(|place| place + 1).collect()
    } else {
        (1..=dimension).collect()
    };
    if layer % 2 == 1 {
        degrees.iter_mut().for_each(|degree| *degree = dimension + 1 - *degree);
    }
    degrees
}

/// # Errors
/// When there is no layer, or a hidden layer has no unit.
pub(crate) fn check(layers: (&str, usize), hidden: &[i64]) -> Result<()> {
    at_least_one(layers.0, layers.1 as i64)?;
    hidden.iter().try_for_each(|&units| at_least_one("hidden", units))
}

/// # Errors
/// When a spline has no bin, too many, or no interval.
pub(crate) fn check_spline(bins: i64, bound: f64) -> Result<()> {
    if !(1..=Spline::MOST_BINS).contains(&bins) {
        return Err(Error::invalid(format!("`bins` must be 1 to {}, found {bins}", Spline::MOST_BINS)));
    }
    if bound > 0.0 && bound.is_finite() {
        return Ok(());
    }
    Err(Error::invalid(format!("`bound` must be a positive number, found {bound}")))
}

/// Training settings for points.
pub(crate) fn training() -> TrainConfig {
    TrainConfig {
        batch_size: 256,
        schedule: Schedule::Cosine,
        validation_rows: 256,
        ..TrainConfig::default()
    }
}
