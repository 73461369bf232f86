use gen_core::params::Scope;
use serde::{Deserialize, Serialize};

use crate::bijection::{ActNorm, Flatten, Histogram, Inverse, Layer, Logit, Probit};

/// How pixels get to the real line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pixels {
    /// By a logit, and a mean and a standard deviation for each place in the image.
    Logit,
    /// By a histogram for each place in the image and the normal quantile: each pixel by itself becomes Gaussian.
    Gaussian,
}

impl Pixels {
    /// The layers that do it for images of `[channels, height, width]`, with the margin `alpha`.
    pub(crate) fn layers(self, root: &Scope<'_>, alpha: f64, shape: [i64; 3]) -> Vec<Box<dyn Layer>> {
        let (place, size) = (root / "pixels", shape.iter().product());
        let (flatten, unflatten) = (Flatten::new(shape), Inverse(Flatten::new(shape)));
        match self {
            Pixels::Logit => vec![
                Box::new(Logit::new(alpha)),
                Box::new(flatten),
                Box::new(ActNorm::new(place, size)),
                Box::new(unflatten),
            ],
            Pixels::Gaussian => vec![
                Box::new(flatten),
                Box::new(Histogram::new(place, size, &Histogram::edges_of_bytes())),
                Box::new(Probit::new(alpha)),
                Box::new(unflatten),
            ],
        }
    }
}
