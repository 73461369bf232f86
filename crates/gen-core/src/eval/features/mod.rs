//! Where samples are compared: a classifier's hidden layer, principal components of the pixels, the points
//! themselves.

mod inception;
mod network;
mod pca;
mod training;

#[cfg(feature = "pytorch-files")]
pub use inception::InceptionSource;
pub use inception::{InceptionNetwork, InceptionOutput};
pub use network::{FEATURES, FeatureNetwork};
pub use pca::PrincipalComponents;
pub use training::{FeatureRecord, FeatureTraining, train};

use tch::{Device, Kind, Tensor};

use crate::data::Shape;
use crate::error::{Error, Result};

/// A map from samples to the vectors that metrics compare. Numbers from different spaces are not comparable.
pub enum FeatureSpace {
    /// The hidden layer of a classifier of the same data set.
    Classifier {
        /// The data set that it was trained on.
        name: String,
        /// SHA-256 of the file of its weights.
        sha256: String,
        /// The classifier.
        network: FeatureNetwork,
    },
    /// Principal components of the training pixels.
    Pca(PrincipalComponents),
    /// Points as they are.
    Identity,
}

impl FeatureSpace {
    /// The space of images that have no classifier: 64 principal components of the pixels of `train`; and of
    /// points: the points.
    ///
    /// # Errors
    /// When the images are fewer than two or all equal.
    pub fn without_network(shape: Shape, train: &Tensor) -> Result<Self> {
        match shape {
            Shape::Points { .. } => Ok(FeatureSpace::Identity),
            Shape::Image { .. } => Ok(FeatureSpace::Pca(PrincipalComponents::fit(train, FEATURES)?)),
        }
    }

    /// The name in reports: `classifier:<data set>`, `pca-<count>` or `identity`.
    pub fn name(&self) -> String {
        match self {
            FeatureSpace::Classifier { name, .. } => format!("classifier:{name}"),
            FeatureSpace::Pca(pca) => format!("pca-{}", pca.count()),
            FeatureSpace::Identity => "identity".to_owned(),
        }
    }

    /// SHA-256 of the weights, where the space has such.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            FeatureSpace::Classifier { sha256, .. } => Some(sha256),
            _ => None,
        }
    }

    /// Features of images `u8 [n, channels, height, width]` or points `[n, dimension]`: `f64 [n, features]`.
    ///
    /// Of images that were padded, a classifier sees the middle, as it was before.
    ///
    /// # Errors
    /// When the images have another size than the space is for.
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.to_device(Device::Cpu);
        match self {
            FeatureSpace::Classifier { network, .. } => Ok(network.features(&cropped(&x, network.shape())?)),
            FeatureSpace::Pca(pca) => pca.features(&x),
            FeatureSpace::Identity => Ok(x.to_kind(Kind::Double)),
        }
    }
}

/// The middle of larger images.
fn cropped(x: &Tensor, shape: Shape) -> Result<Tensor> {
    match (shape, &x.size()[..]) {
        (Shape::Image { channels, height, width }, [_, c, h, w])
            if *c == channels && *h >= height && *w >= width =>
        {
            Ok(x.narrow(2, (h - height) / 2, height).narrow(3, (w - width) / 2, width))
        }
        (shape, found) => {
            Err(Error::invalid(format!("the feature network takes {shape:?}, found {found:?}")))
        }
    }
}
