//! Parts that flows of tabular data share: standardised coordinates, layers, and how the layers take turns.

use gen_core::data::{DataSpec, Shape};
use gen_core::params::{Params, Scope};
use gen_core::rng::{self, Purpose};
use gen_core::{Error, Result};

use crate::bijection::{Chain, Coupling, Layer, Mask, Permutation, Standardise};
use crate::conditioner::{Conditioner, MlpConditioner};
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
    mut layer: impl FnMut(Scope<'_>, usize) -> Vec<Box<dyn Layer>>,
) -> Result<Chain> {
    let root = params.root();
    let mut layers: Vec<Box<dyn Layer>> =
        vec![Box::new(Standardise::new(&root / "standardise", &data.mean, &data.std)?)];
    for i in 0..count {
        layers.extend(layer(&root / format!("{name}.{i}"), i));
    }
    Ok(Chain::new(layers))
}

/// The number of columns, `least` or more.
///
/// # Errors
/// When the data are images, or have fewer columns.
pub(crate) fn dimension(model: &str, data: &DataSpec, least: i64) -> Result<i64> {
    match data.shape {
        Shape::Points { dimension } if dimension >= least => Ok(dimension),
        Shape::Points { dimension } => Err(Error::invalid(format!(
            "`{model}` needs at least {least} columns, one to keep and one to transform; `{}` has {dimension}",
            data.name
        ))),
        Shape::Image { .. } => Err(Error::invalid(format!(
            "`{model}` is a model of tabular data, `{}` has images: \
             take `quick-flow`, `nsf`, `glow`, `flow++` or `tarflow`",
            data.name
        ))),
    }
}

/// A coupling of coordinates by `univariate`, which keeps the first and the last half of them in turn. With more than
/// two, a random order before every second layer gives each one new partners. `[dimension, context]` are the numbers of
/// coordinates and of features of the context.
pub(crate) fn coupling(
    place: &Scope<'_>,
    univariate: impl Univariate + 'static,
    layer: usize,
    hidden: &[i64],
    [dimension, context]: [i64; 2],
) -> Vec<Box<dyn Layer>> {
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    if dimension > 2 && layer > 0 && layer.is_multiple_of(2) {
        layers.push(Box::new(Permutation::random(place / "permutation", dimension)));
    }
    let net = |inputs, outputs| -> Box<dyn Conditioner> {
        Box::new(MlpConditioner::new(place / "net", inputs, context, hidden, outputs))
    };
    let mask = Mask::alternating(dimension, layer);
    layers.push(Box::new(Coupling::of_size(mask, dimension, univariate, net)));
    layers
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
