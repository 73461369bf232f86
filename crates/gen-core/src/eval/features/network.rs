use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use super::as_signed;
use crate::data::{DataSpec, Shape, Split};
use crate::error::{Error, Result};
use crate::nn::{Conv2d, ConvConfig, Linear};
use crate::params::{Init, NamedTensors, Params};
use crate::rng::{Purpose, stream};

/// Dimensions of the feature space.
pub const FEATURES: i64 = 64;

/// Directions whose standard deviation is below this part of the largest are not blown up any further.
const SCALE_FLOOR: f64 = 0.05;

/// Images in one forward pass.
const CHUNK: i64 = 500;

/// A small convolutional classifier whose last hidden layer is the feature space.
///
/// A 5x5 convolution (of stride 2 where the side is above 16), a 3x3 one, then 3x3 ones of stride 2 down to a side
/// of 4 or less, SiLU after each; a linear layer to 64 units; SiLU; a linear layer to the classes, and one to a score
/// for images that are none of the data set's (see [`FeatureTraining::outliers`](super::FeatureTraining)). The features are
/// the 64 values *before* that nonlinearity, so that no direction is dead, less their mean over the training set
/// and divided by their standard deviation over it (see [`FeatureNetwork::whiten`]). There is no normalisation
/// layer: the features of an image depend on that image only, and contrast counts.
pub struct FeatureNetwork {
    shape: Shape,
    params: Params,
    stages: Vec<Conv2d>,
    embedding: Linear,
    head: Linear,
    outlier: Linear,
    mean: Tensor,
    scale: Tensor,
}

impl FeatureNetwork {
    /// A network with fresh weights for images of `shape` in `classes` classes.
    ///
    /// # Errors
    /// When the shape is not that of images, or there are fewer than two classes.
    pub fn new(shape: Shape, classes: i64, seed: u64) -> Result<Self> {
        let Shape::Image { channels, height, width } = shape else {
            return Err(Error::invalid("a feature network needs images; points are their own features"));
        };
        if classes < 2 {
            return Err(Error::invalid(format!(
                "a feature network learns from classes: at least 2 are needed, found {classes}"
            )));
        }
        let params = Params::drawn_from(stream(seed, Purpose::Init, 0), Kind::Float, Device::Cpu);
        let root = params.root();
        let buffer = |name: &str, value: Tensor| root.buffer(name, value);
        let _ = buffer("input_shape", Tensor::from_slice(&[channels, height, width]));

        let mut stages = Vec::new();
        let (mut side, mut inputs) = ([height, width], channels);
        for (i, stage) in plan(height.max(width)).into_iter().enumerate() {
            let std = (2.0 / (inputs * stage.kernel * stage.kernel) as f64).sqrt();
            let config = ConvConfig::strided(stage.kernel, stage.stride, stage.kernel / 2)
                .init(Init::Normal { mean: 0.0, std });
            let place = &root / format!("stages.{i}");
            stages.push(Conv2d::new(place, inputs, stage.channels, config));
            side = side.map(|side| (side - 1) / stage.stride + 1);
            inputs = stage.channels;
        }
        let options = (Kind::Float, Device::Cpu);
        Ok(FeatureNetwork {
            shape,
            stages,
            embedding: Linear::new(&root / "embedding", inputs * side[0] * side[1], FEATURES),
            head: Linear::new(&root / "head", FEATURES, classes),
            outlier: Linear::new(&root / "outlier", FEATURES, 1),
            mean: buffer("feature_mean", Tensor::zeros([FEATURES], options)),
            scale: buffer("feature_scale", Tensor::ones([FEATURES], options)),
            params,
        })
    }

    /// The network that [`FeatureNetwork::to_safetensors`] wrote.
    ///
    /// # Errors
    /// When the bytes are not safetensors or not of such a network.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let wrong = |problem: String| Error::invalid(format!("not a feature network: {problem}"));
        let file = SafeTensors::deserialize(bytes).map_err(|error| wrong(error.to_string()))?;
        let mut tensors = NamedTensors::new();
        for (name, view) in file.tensors() {
            tensors.insert(name, Tensor::try_from(view)?);
        }
        let shape = tensors.get("input_shape").map(Vec::<i64>::try_from).transpose()?;
        let classes = tensors.get("head.bias").map(|bias| bias.numel() as i64);
        let (Some(&[channels, height @ 1..4096, width @ 1..4096]), Some(classes)) =
            (shape.as_deref(), classes)
        else {
            return Err(wrong("`input_shape` or `head.bias` is missing or malformed".to_owned()));
        };
        let network = Self::new(Shape::Image { channels, height, width }, classes, 0)?;
        network.params.all().assign(&tensors)?;
        Ok(network)
    }

    /// The network as the content of a safetensors file.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let tensors = self.params.all();
        let mut contents = Vec::with_capacity(tensors.len());
        for (name, tensor) in tensors.iter() {
            let dtype = Dtype::try_from(tensor.kind())?;
            let mut bytes = vec![0; tensor.numel() * dtype.size()];
            tensor.detach().contiguous().f_copy_data_u8(&mut bytes, tensor.numel())?;
            let shape: Vec<usize> = tensor.size().into_iter().map(|side| side as usize).collect();
            contents.push((name, dtype, shape, bytes));
        }
        let views: Result<Vec<_>, _> = contents
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect();
        views
            .and_then(|views| safetensors::serialize(views, &None))
            .map_err(|error| Error::invalid(format!("feature network: {error}")))
    }

    /// The images that the network takes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether the network is for images of this kind; padding, which is cut off again, does not matter.
    pub fn fits(&self, data: &DataSpec) -> bool {
        match (self.shape, data.shape) {
            (ours, theirs) if ours == theirs => true,
            (Shape::Image { channels, height, width }, Shape::Image { channels: c, height: h, width: w }) => {
                data.options.pad > 0 && data.options.resize == 0 && c == channels && h >= height && w >= width
            }
            _ => false,
        }
    }

    /// The number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.params.count()
    }

    /// Parameters and buffers.
    pub(super) fn params(&self) -> &Params {
        &self.params
    }

    /// Pre-activations of the last hidden layer of `x: f32 [n, channels, height, width]` in [-1, 1]: `[n, 64]`.
    /// `drop` is applied to what enters that layer.
    pub(super) fn embed(&self, x: &Tensor, drop: impl Fn(Tensor) -> Tensor) -> Tensor {
        let mut h = x.shallow_clone();
        for stage in &self.stages {
            h = stage.forward(&h).silu();
        }
        self.embedding.forward(&drop(h.flatten(1, -1)))
    }

    /// Class scores from pre-activations: `[n, classes]`.
    pub(super) fn classify(&self, embedding: &Tensor) -> Tensor {
        self.head.forward(&embedding.silu())
    }

    /// How much images are unlike those of the data set, as a logit, from pre-activations: `[n]`.
    pub(super) fn outlier_score(&self, embedding: &Tensor) -> Tensor {
        self.outlier.forward(&embedding.silu()).squeeze_dim(1)
    }

    /// Class scores of images `u8 [n, channels, height, width]`: `f64 [n, classes]`, logits.
    pub fn logits(&self, images: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        self.chunked(images, |x| self.classify(&self.embed(x, |h| h))).to_kind(Kind::Double)
    }

    /// Takes mean and standard deviation of every feature from the training images,
    /// `u8 [n, channels, height, width]`. A deviation is at least 5 % of the largest: a direction in which the
    /// training set hardly varies would otherwise outweigh all others.
    pub fn whiten(&mut self, train: &Tensor) {
        let raw = self.raw_features(train);
        let scale = raw.std_dim(0, true, false);
        let scale = scale.maximum(&(scale.max() * SCALE_FLOOR));
        self.mean.copy_(&raw.mean_dim(0, false, Kind::Double));
        self.scale.copy_(&scale);
    }

    /// Features of images `u8 [n, channels, height, width]`, `f64 [n, 64]`, and their class scores,
    /// `f64 [n, classes]`, logits. `progress` hears how many images are done, and of how many.
    pub fn features_and_logits(
        &self,
        images: &Tensor,
        progress: &mut dyn FnMut(usize, usize),
    ) -> (Tensor, Tensor) {
        let _no_grad = tch::no_grad_guard();
        let total = images.size()[0] as usize;
        let (mut raw, mut logits, mut done) = (Vec::new(), Vec::new(), 0);
        for part in images.split(CHUNK, 0) {
            progress(done, total);
            done += part.size()[0] as usize;
            let embedding = self.embed(&as_signed(&part), |h| h);
            logits.push(self.classify(&embedding));
            raw.push(embedding);
        }
        let raw = Tensor::cat(&raw, 0).to_kind(Kind::Double);
        let features = (raw - self.mean.to_kind(Kind::Double)) / self.scale.to_kind(Kind::Double);
        (features, Tensor::cat(&logits, 0).to_kind(Kind::Double))
    }

    fn raw_features(&self, images: &Tensor) -> Tensor {
        self.chunked(images, |x| self.embed(x, |h| h)).to_kind(Kind::Double)
    }

    /// The share of `split` that is classified as labelled.
    ///
    /// # Errors
    /// When the split has no labels.
    pub fn accuracy(&self, split: &Split) -> Result<f64> {
        let labels = split.labels.as_ref().ok_or_else(|| Error::invalid("the split has no labels"))?;
        Ok(self
            .logits(&split.x)
            .argmax(1, false)
            .eq_tensor(labels)
            .to_kind(Kind::Double)
            .mean(Kind::Double)
            .double_value(&[]))
    }

    fn chunked(&self, images: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let parts: Vec<_> = images.split(CHUNK, 0).iter().map(|part| f(&as_signed(part))).collect();
        Tensor::cat(&parts, 0)
    }
}

/// One convolution, with as much padding as keeps the size at stride 1.
struct Stage {
    kernel: i64,
    stride: i64,
    channels: i64,
}

/// The convolutions for images of this larger side.
fn plan(side: i64) -> Vec<Stage> {
    let stride = if side > 16 { 2 } else { 1 };
    let mut stages =
        vec![Stage { kernel: 5, stride, channels: 32 }, Stage { kernel: 3, stride: 1, channels: 64 }];
    let mut side = (side - 1) / stride + 1;
    while side > 4 {
        side = (side - 1) / 2 + 1;
        stages.push(Stage { kernel: 3, stride: 2, channels: if side > 4 { 96 } else { 64 } });
    }
    stages
}
