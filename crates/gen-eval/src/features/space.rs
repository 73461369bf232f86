use tch::{Device, Kind, Tensor};

use super::embedded::Embedded;
use super::inception::InceptionNetwork;
use super::network::FeatureNetwork;
use super::pca::PrincipalComponents;
use super::random::RandomNetwork;
use gen_core::data::{Shape, signed_to_bytes};
use gen_core::{Error, Result};

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
    /// The hidden layer of a network that learned from images of the same data set, without their labels.
    SelfSupervised {
        /// The data set that it was trained on.
        name: String,
        /// SHA-256 of the file of its weights.
        sha256: String,
        /// The network.
        network: FeatureNetwork,
    },
    /// An untrained network.
    Random(RandomNetwork),
    /// Principal components of the training pixels.
    Pca(PrincipalComponents),
    /// The last pooling layer of the network of published FIDs.
    Inception(Box<InceptionNetwork>),
    /// The points themselves.
    Identity,
}

impl FeatureSpace {
    /// The name in reports: `classifier:<data set>`, `self-supervised:<data set>`, `random-<count>`, `pca-<count>`,
    /// `inception` or `identity`.
    pub fn name(&self) -> String {
        match self {
            FeatureSpace::Classifier { name, .. } => format!("classifier:{name}"),
            FeatureSpace::SelfSupervised { name, .. } => format!("self-supervised:{name}"),
            FeatureSpace::Random(network) => format!("random-{}", network.count()),
            FeatureSpace::Pca(pca) => format!("pca-{}", pca.count()),
            FeatureSpace::Inception(_) => "inception".to_owned(),
            FeatureSpace::Identity => "identity".to_owned(),
        }
    }

    /// SHA-256 of the file of weights, if the space has one.
    pub fn sha256(&self) -> Option<&str> {
        match self {
            FeatureSpace::Classifier { sha256, .. } | FeatureSpace::SelfSupervised { sha256, .. } => Some(sha256),
            FeatureSpace::Inception(network) => Some(network.sha256()),
            _ => None,
        }
    }

    /// Features of images, `u8 [n, channels, height, width]` or floating-point in [-1, 1], or of points,
    /// `[n, dimension]`, and the class scores of a classifier. `progress` receives the number of rows done and in all.
    ///
    /// A network of the data set sees the middle of padded images, which is the original image.
    ///
    /// # Errors
    /// When the space is for images of another size.
    pub fn embed(&self, x: &Tensor, progress: &mut dyn FnMut(usize, usize)) -> Result<Embedded> {
        let x = x.to_device(Device::Cpu);
        let features = match self {
            FeatureSpace::Classifier { network, .. } | FeatureSpace::SelfSupervised { network, .. } => {
                return Ok(network.features(&cropped(&x, network.shape())?, progress));
            }
            FeatureSpace::Random(network) => network.features(&x, progress)?,
            FeatureSpace::Inception(network) => {
                let bytes = if x.kind() == Kind::Uint8 { x } else { signed_to_bytes(&x) };
                let output = network.features_and_logits(&bytes, progress)?;
                return Ok(Embedded { features: output.features, logits: Some(output.logits) });
            }
            FeatureSpace::Pca(pca) if x.kind() == Kind::Uint8 => pca.features(&x)?,
            FeatureSpace::Pca(pca) => pca.features(&((x + 1.0) * 127.5))?,
            FeatureSpace::Identity => x.to_kind(Kind::Double),
        };
        Ok(Embedded { features, logits: None })
    }
}

/// The middle of images that are larger than `shape`.
fn cropped(x: &Tensor, shape: Shape) -> Result<Tensor> {
    match (shape, &x.size()[..]) {
        (Shape::Image { channels, height, width }, [_, c, h, w]) if *c == channels && *h >= height && *w >= width => {
            Ok(x.narrow(2, (h - height) / 2, height).narrow(3, (w - width) / 2, width))
        }
        (shape, found) => Err(Error::invalid(format!("the feature network takes {shape:?}, found {found:?}"))),
    }
}
