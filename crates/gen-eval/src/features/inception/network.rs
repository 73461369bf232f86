//! The Inception network.

use tch::{Device, Kind, Tensor};

use super::graph::blocks;
use super::layers::{Block, channels_last};
use super::weights::Weights;
use gen_core::params::NamedTensors;
use gen_core::{Error, Result};

/// Dimensions of the features.
const FEATURES: i64 = 2048;
/// Classes of the last layer: those of ImageNet at 1 to 1000, and eight without a meaning.
pub(super) const CLASSES: i64 = 1008;
/// Side of the input images.
const SIDE: i64 = 299;
/// Images in one forward pass.
const CHUNK: i64 = 32;

/// The Inception v3 of the Fréchet inception distance: TensorFlow's of 2015-12-05, in the weights that pytorch-fid
/// publishes, <https://github.com/mseitzer/pytorch-fid>.
///
/// Images are prepared as in pytorch-fid: bytes are divided by 255, scaled to 299x299 (bilinear, without antialiasing,
/// corners not aligned), and moved to [-1, 1]. Distances of these features are comparable with those of papers that use
/// the same images, the same number of them and the same reference set.
///
/// An image of any size takes a core about 0.13 s.
pub struct InceptionNetwork {
    blocks: Vec<Block>,
    /// `[1008, 2048]`
    classifier: Tensor,
    sha256: String,
}

/// The output of the network for some images.
#[derive(Debug)]
pub struct InceptionOutput {
    /// Output of the last pooling layer: `f64 [n, 2048]`
    pub features: Tensor,
    /// Logits of 1008 classes without bias: `f64 [n, 1008]`. The code of Salimans et al. (2016) defines the inception
    /// score on these, and torch-fidelity calls them `logits_unbiased`.
    pub logits: Tensor,
}

impl InceptionNetwork {
    /// The network of a file of weights that [`state_dict::read`](crate::state_dict::read) can read.
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
    /// When the file cannot be read, or a tensor is missing, of another shape or unknown; the error names the first
    /// one.
    pub fn load(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::from_bytes(&bytes, gen_data::sha256(&bytes), path)
    }

    /// The network of a file's content; `path` is for messages.
    pub(super) fn from_bytes(bytes: &[u8], sha256: String, path: &std::path::Path) -> Result<Self> {
        let tensors = crate::state_dict::parse(bytes, path)?;
        Self::from_tensors(&tensors, sha256).map_err(|error| match error {
            Error::Invalid(problem) => Error::format(path, problem),
            other => other,
        })
    }

    /// The network with these weights, named as in pytorch-fid's file, whose SHA-256 is `sha256`.
    ///
    /// # Errors
    /// When a tensor is missing, of another shape or kind, not finite, or unknown.
    pub fn from_tensors(tensors: &NamedTensors, sha256: impl Into<String>) -> Result<Self> {
        let _no_grad = tch::no_grad_guard();
        let mut weights = Weights::new(tensors);
        let blocks = blocks(&mut weights)?;
        let classifier = weights.take("fc.weight", &[CLASSES, FEATURES])?;
        // The bias is in the file, but logits are without it.
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
    /// `progress` receives the number of images done and in all.
    ///
    /// # Errors
    /// When `images` has another kind or shape.
    pub fn features(&self, images: &Tensor, progress: &mut dyn FnMut(usize, usize)) -> Result<Tensor> {
        Ok(Tensor::cat(&self.pooled(images, progress)?, 0).to_kind(Kind::Double))
    }

    /// [`InceptionNetwork::features`] with logits of the classes, at almost no extra cost.
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

    /// Features in parts: `f32 [.., 2048]` each.
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

/// The input of the network from bytes `[n, channels, height, width]`: `f32 [n, 3, 299, 299]` in [-1, 1].
fn prepared(bytes: &Tensor) -> Tensor {
    let x = bytes.to_device(Device::Cpu).to_kind(Kind::Float) / 255.0;
    let x = x.upsample_bilinear2d([SIDE, SIDE], false, None, None) * 2.0 - 1.0;
    channels_last(&x.expand([-1, 3, -1, -1], false))
}
