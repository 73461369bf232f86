use tch::Tensor;

use super::layer::{Bijection, Layer};
use crate::given::Given;
use crate::tensor::volume_preserving;

/// f = fₙ ∘ … ∘ f₁, in the order from data to latents.
///
/// ```
/// use gen_flow::Given;
/// use gen_flow::bijection::{Bijection, Chain, Logit, Squeeze};
/// use tch::{Device, Kind, Tensor};
///
/// let chain = Chain::new(vec![Box::new(Logit::new(0.05)), Box::new(Squeeze)]);
/// let x = Tensor::rand([8, 1, 28, 28], (Kind::Double, Device::Cpu));
/// let (y, log_det) = chain.forward(&x, Given::NOTHING);
/// assert_eq!((y.size(), log_det.size()), (vec![8, 4, 14, 14], vec![8]));
/// let (back, _) = chain.inverse(&y, Given::NOTHING);
/// assert!(back.allclose(&x, 1e-9, 1e-9, false));
/// ```
#[derive(Debug)]
pub struct Chain(Vec<Box<dyn Layer>>);

impl Chain {
    /// The composition; data passes through `layers` from the first to the last. Without layers, the identity.
    pub fn new(layers: Vec<Box<dyn Layer>>) -> Self {
        Chain(layers)
    }
}

impl Bijection for Chain {
    fn forward(&self, x: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        compose(self.0.iter(), x, |layer, x| layer.forward(x, given))
    }

    fn inverse(&self, y: &Tensor, given: Given<'_>) -> (Tensor, Tensor) {
        compose(self.0.iter().rev(), y, |layer, y| layer.inverse(y, given))
    }
}

impl Layer for Chain {
    fn parts(&self) -> Vec<&dyn Layer> {
        self.0.iter().map(AsRef::as_ref).collect()
    }

    fn initialise(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        self.0.iter().fold(x.shallow_clone(), |x, layer| layer.initialise(&x, given))
    }

    fn outline(&self, y: &Tensor, given: Given<'_>) -> Tensor {
        outline(&self.0, y, given)
    }

    fn trajectory(&self, y: &Tensor, given: Given<'_>, visit: &mut dyn FnMut(&Tensor)) -> Tensor {
        (0..self.0.len()).rev().fold(y.shallow_clone(), |y, i| {
            self.0[i].trajectory(&y, given, &mut |x| visit(&outline(&self.0[..i], x, given)))
        })
    }
}

/// [`Layer::outline`] of `layers` one after another.
fn outline(layers: &[Box<dyn Layer>], y: &Tensor, given: Given<'_>) -> Tensor {
    layers.iter().rev().fold(y.shallow_clone(), |y, layer| layer.outline(&y, given))
}

/// Passes `x` through `layers` one after another and adds the log-determinants.
fn compose<'a>(
    layers: impl Iterator<Item = &'a Box<dyn Layer>>,
    x: &Tensor,
    map: impl Fn(&dyn Layer, &Tensor) -> (Tensor, Tensor),
) -> (Tensor, Tensor) {
    let mut at = x.shallow_clone();
    let mut total: Option<Tensor> = None;
    for layer in layers {
        let (next, log_det) = map(layer.as_ref(), &at);
        at = next;
        total = Some(match total {
            Some(total) => total + log_det,
            None => log_det,
        });
    }
    let total = total.unwrap_or_else(|| volume_preserving(x));
    (at, total)
}
