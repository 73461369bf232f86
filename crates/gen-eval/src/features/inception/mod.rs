//! The network behind published numbers: the Inception of "FID".

mod graph;
mod layers;
mod source;
#[cfg(test)]
mod tests;
mod weights;

pub use source::InceptionSource;

use tch::{Device, Kind, Tensor};

use self::layers::{Block, channels_last};
use self::weights::Weights;
use gen_core::params::NamedTensors;
use gen_core::{Error, Result};

/// Dimensions of the features.
const FEATURES: i64 = 2048;
/// Classes of the last layer: those of ImageNet at 1 to 1000, and eight that stand for nothing.
const CLASSES: i64 = 1008;
/// The side of the images that the network sees.
const SIDE: i64 = 299;
/// Images in one forward pass.
const CHUNK: i64 = 32;

/// The Inception v3 that the Fréchet inception distance is defined by: TensorFlow's of 2015-12-05, in the weights
/// that pytorch-fid publishes, <https://github.com/mseitzer/pytorch-fid>.
///
/// Images go through what pytorch-fid does: bytes are divided by 255, scaled to 299x299 (bilinear, without
/// antialiasing, corners not aligned), and moved to [-1, 1]. Distances of these features are comparable with those of
/// papers where the images, their number and the reference set are the same as there.
///
/// An image takes a core of today about 0.13 s, whatever its size.
pub struct InceptionNetwork {
    blocks: Vec<Block>,
    /// `[1008, 2048]`
    classifier: Tensor,
    sha256: String,
}

/// What the network says of some images.
#[derive(Debug)]
pub struct InceptionOutput {
    /// What its last pool gives: `f64 [n, 2048]`.
    pub features: Tensor,
    /// Scores of 1008 classes before the softmax, without bias: `f64 [n, 1008]`. The inception score was defined on
    /// these (Salimans et al. 2016, its code), and torch-fidelity calls them `logits_unbiased`.
    pub logits: Tensor,
}

impl InceptionNetwork {
    /// The network of a file of weights, see [`state_dict::read`](crate::state_dict::read).
    ///
    /// ```no_run
    /// use gen_eval::features::InceptionNetwork;
    /// use tch::{Device, Kind, Tensor};
    ///
    /// let network = InceptionNetwork::load("pt_inception-2015-12-05-6726825d.pth")?;
    /// let images = Tensor::zeros([10, 1, 28, 28], (Kind::Uint8, Device::Cpu));
    /// let features = network.features(&images, &mut |done, total| assert!(done <= total))?;
    /// assert_eq!(features.size(), [10, 2048]);
    /// # Ok::<(), gen_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the file cannot be read, or holds other weights than those of this network; the first tensor that is
    /// missing, of another shape, or unknown is named.
    pub fn load(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::from_bytes(&bytes, gen_data::sha256(&bytes), path)
    }

    /// The network of a file's content; `path` is for the messages.
    fn from_bytes(bytes: &[u8], sha256: String, path: &std::path::Path) -> Result<Self> {
        let tensors = crate::state_dict::parse(bytes, path)?;
        Self::from_tensors(&tensors, sha256).map_err(|error| match error {
            Error::Invalid(problem) => Error::format(path, problem),
            other => other,
        })
    }

    /// The network with these weights, named as in pytorch-fid's file; `sha256` is that file's.
    ///
    /// # Errors
    /// When a tensor is missing, of another shape or kind, not finite, or unknown.
    pub fn from_tensors(tensors: &NamedTensors, sha256: impl Into<String>) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let mut weights = Weights::new(tensors);
        let blocks = graph::blocks(&mut weights)?;
        let classifier = weights.take("fc.weight", &[CLASSES, FEATURES])?;
        // Part of the file, and of no result: see the logits.
        let _ = weights.take("fc.bias", &[CLASSES])?;
        weights.finish()?;
        Ok(InceptionNetwork { blocks, classifier, sha256: sha256.into() })
    }

    /// SHA-256 of the file of the weights.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Features of images `u8 [n, channels, height, width]` with one channel or three: `f64 [n, 2048]`.
    ///
    /// `progress` is told how many images are done, of how many.
    ///
    /// # Errors
    /// When the tensor is none of images.
    pub fn features(&self, images: &Tensor, progress: &mut dyn FnMut(usize, usize)) -> Result<Tensor> {
        Ok(Tensor::cat(&self.pooled(images, progress)?, 0).to_kind(Kind::Double))
    }

    /// [`InceptionNetwork::features`], and the scores of the classes, which cost nothing beside them.
    ///
    /// # Errors
    /// As [`InceptionNetwork::features`].
    pub fn features_and_logits(
        &self,
        images: &Tensor,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<InceptionOutput> {
        let _no_grad = tch::no_grad_guard();
        let features = Tensor::cat(&self.pooled(images, progress)?, 0);
        let logits = features.linear(&self.classifier, None::<&Tensor>).to_kind(Kind::Double);
        Ok(InceptionOutput { features: features.to_kind(Kind::Double), logits })
    }

    /// Features of some images after the other: `f32 [.., 2048]`.
    fn pooled(&self, images: &Tensor, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Tensor>> {
        let _no_grad = tch::no_grad_guard();
        let (kind, size) = (images.kind(), images.size());
        let total = match size[..] {
            [n, 1 | 3, _, _] if kind == Kind::Uint8 && size.iter().all(|side| *side > 0) => n,
            _ => {
                return Err(Error::invalid(format!(
                    "Inception takes images as Uint8 [n, 1 or 3, height, width], found {kind:?} {size:?}"
                )));
            }
        };
        let mut done = 0;
        let mut parts = Vec::new();
        for part in images.split(CHUNK, 0) {
            let x = self.blocks.iter().fold(prepared(&part), |x, block| block.forward(&x));
            parts.push(x.mean_dim([2i64, 3].as_slice(), false, Kind::Float));
            done += part.size()[0];
            progress(done as usize, total as usize);
        }
        Ok(parts)
    }
}

/// What the network sees of bytes `[n, channels, height, width]`: `f32 [n, 3, 299, 299]` in [-1, 1].
fn prepared(bytes: &Tensor) -> Tensor {
    let x = bytes.to_device(Device::Cpu).to_kind(Kind::Float) / 255.0;
    let x = x.upsample_bilinear2d([SIDE, SIDE], false, None, None) * 2.0 - 1.0;
    channels_last(&x.expand([-1, 3, -1, -1], false))
}
