//! Convolutional feature networks for small images.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use super::embedded::{Embedded, as_signed};
use gen_core::data::{DataSpec, Shape, Split};
use gen_core::nn::{Conv2d, ConvConfig, Linear};
use gen_core::params::{Init, NamedTensors, Params};
use gen_core::rng::{Purpose, stream};
use gen_core::{Error, Result};

/// Dimensions of the feature space.
pub const FEATURES: i64 = 64;

/// Lower limit on the standard deviations of features, as a share of the largest.
const SCALE_FLOOR: f64 = 0.05;

/// Images in one forward pass.
const CHUNK: i64 = 500;

/// Channels of the convolutions; further ones have the last number.
const CHANNELS: [i64; 3] = [16, 32, 64];

/// Smallest number of convolutions.
const LEAST_STAGES: usize = 4;

/// A small convolutional network with one hidden layer as the feature space.
///
/// It has a 5x5 convolution and 3x3 ones, SiLU after each, averages over 2x2 until the side is 4 or less, and a linear
/// layer to 64 units. Averages, unlike strides, keep the output smooth when an image moves by a pixel (Zhang 2019). The
/// features are the 64 values *before* the nonlinearity in front of the heads, so that no direction is dead,
/// standardised over the training set (see [`FeatureNetwork::whiten`]). There is no normalisation layer: the features
/// of an image depend on that image alone, and contrast counts.
///
/// Heads follow after SiLU: a classifier has a linear layer to its classes, and both kinds of network have one to a
/// score for images that are not of the data set (see [`train`](crate::features::train) and
/// [`train_self_supervised`](crate::features::train_self_supervised)).
pub struct FeatureNetwork {
    shape: Shape,
    params: Params,
    stages: Vec<Stage>,
    embedding: Linear,
    head: Option<Linear>,
    outlier: Linear,
    mean: Tensor,
    scale: Tensor,
}

/// A convolution, and whether an average over 2x2 follows.
struct Stage {
    conv: Conv2d,
    pooled: bool,
}

impl FeatureNetwork {
    /// A classifier with fresh weights for images of `shape` in `classes` classes.
    ///
    /// # Errors
    /// When the shape is not that of images, or there are fewer than two classes.
    pub fn classifier(shape: Shape, classes: i64, seed: u64) -> Result<Self> {
        if classes < 2 {
            return Err(Error::invalid(format!(
                "a classifier learns from classes: at least 2 are needed, found {classes}"
            )));
        }
        Self::new(shape, Some(classes), seed)
    }

    /// A network without classes, with fresh weights for images of `shape`.
    ///
    /// # Errors
    /// When the shape is not that of images.
    pub fn self_supervised(shape: Shape, seed: u64) -> Result<Self> {
        Self::new(shape, None, seed)
    }

    fn new(shape: Shape, classes: Option<i64>, seed: u64) -> Result<Self> {
        let Shape::Image { channels, height, width } = shape else {
            return Err(Error::invalid("a feature network needs images; points are their own features"));
        };
        let params = Params::drawn_from(stream(seed, Purpose::Init, 0), Kind::Float, Device::Cpu);
        let root = params.root();
        let buffer = |name: &str, value: Tensor| root.buffer(name, value);
        let _ = buffer("input_shape", Tensor::from_slice(&[channels, height, width]));

        let mut stages = Vec::new();
        let (mut side, mut inputs) = ([height, width], channels);
        for (i, Plan { kernel, outputs, pooled }) in plan(height.max(width)).into_iter().enumerate() {
            let std = (2.0 / (inputs * kernel * kernel) as f64).sqrt();
            let config = ConvConfig::same(kernel).init(Init::Normal { mean: 0.0, std });
            let conv = Conv2d::new(&root / format!("stages.{i}"), inputs, outputs, config);
            stages.push(Stage { conv, pooled });
            if pooled {
                side = side.map(|side| (side + 1) / 2);
            }
            inputs = outputs;
        }
        let options = (Kind::Float, Device::Cpu);
        Ok(FeatureNetwork {
            shape,
            stages,
            embedding: Linear::new(&root / "embedding", inputs * side[0] * side[1], FEATURES),
            head: classes.map(|classes| Linear::new(&root / "head", FEATURES, classes)),
            outlier: Linear::new(&root / "outlier", FEATURES, 1),
            mean: buffer("feature_mean", Tensor::zeros([FEATURES], options)),
            scale: buffer("feature_scale", Tensor::ones([FEATURES], options)),
            params,
        })
    }

    /// Reads the bytes of [`FeatureNetwork::to_safetensors`]. The network is a classifier if they have a layer of
    /// classes.
    ///
    /// # Errors
    /// When the bytes are not safetensors, or not of such a network.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let wrong = |problem: String| Error::invalid(format!("not a feature network: {problem}"));
        let file = SafeTensors::deserialize(bytes).map_err(|error| wrong(error.to_string()))?;
        let mut tensors = NamedTensors::new();
        for (name, view) in file.tensors() {
            tensors.insert(name, Tensor::try_from(view)?);
        }
        let shape = tensors.get("input_shape").map(Vec::<i64>::try_from).transpose()?;
        let classes = tensors.get("head.bias").map(|bias| bias.numel() as i64);
        let Some(&[channels, height @ 1..4096, width @ 1..4096]) = shape.as_deref() else {
            return Err(wrong("`input_shape` is missing or malformed".to_owned()));
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

    /// The shape of the images that the network takes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether the network takes images of this data. Padding does not matter, since it is cropped.
    pub fn fits(&self, data: &DataSpec) -> bool {
        match (self.shape, data.shape) {
            (ours, theirs) if ours == theirs => true,
            (Shape::Image { channels, height, width }, Shape::Image { channels: c, height: h, width: w }) => {
                data.options.pad > 0 && data.options.resize == 0 && c == channels && h >= height && w >= width
            }
            _ => false,
        }
    }

    /// Whether the network is a classifier.
    pub fn knows_classes(&self) -> bool {
        self.head.is_some()
    }

    /// The number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.params.count()
    }

    /// Parameters and buffers.
    pub(super) fn params(&self) -> &Params {
        &self.params
    }

    /// The features before [`FeatureNetwork::whiten`] of `x: f32 [n, channels, height, width]` in [-1, 1]: `[n, 64]`.
    /// `drop` is applied to the input of that layer.
    pub(super) fn embed(&self, x: &Tensor, drop: impl Fn(Tensor) -> Tensor) -> Tensor {
        let mut h = x.shallow_clone();
        for Stage { conv, pooled } in &self.stages {
            h = conv.forward(&h).silu();
            if *pooled {
                // With an odd side, the last row and column are averages of fewer values.
                h = h.avg_pool2d([2, 2], [2, 2], [0, 0], true, false, None);
            }
        }
        self.embedding.forward(&drop(h.flatten(1, -1)))
    }

    /// Logits of the classes from an embedding, `[n, classes]`, if the network is a classifier.
    pub(super) fn classify(&self, embedding: &Tensor) -> Option<Tensor> {
        self.head.as_ref().map(|head| head.forward(&embedding.silu()))
    }

    /// Logit that images are not of the data set, from an embedding: `[n]`.
    pub(super) fn outlier_score(&self, embedding: &Tensor) -> Tensor {
        self.outlier.forward(&embedding.silu()).squeeze_dim(1)
    }

    /// Sets the mean and the standard deviation of every feature to those of the training images,
    /// `u8 [n, channels, height, width]`. A standard deviation is at least 5 % of the largest, since a direction in
    /// which the training set hardly varies would outweigh all others.
    pub fn whiten(&mut self, train: &Tensor) {
        let raw = self.raw(train, &mut |_, _| ()).0;
        let scale = raw.std_dim(0, true, false);
        let scale = scale.maximum(&(scale.max() * SCALE_FLOOR));
        self.mean.copy_(&raw.mean_dim(0, false, Kind::Double));
        self.scale.copy_(&scale);
    }

    /// Features of images `u8 [n, channels, height, width]`, `f64 [n, 64]`, and the class scores of a classifier.
    /// `progress` hears how many images are done, and of how many.
    pub fn features(&self, images: &Tensor, progress: &mut dyn FnMut(usize, usize)) -> Embedded {
        let (raw, logits) = self.raw(images, progress);
        let features = (raw - self.mean.to_kind(Kind::Double)) / self.scale.to_kind(Kind::Double);
        Embedded { features, logits }
    }

    /// Features before they are standardised, `f64 [n, 64]`, and logits of the classes, `f64 [n, classes]`.
    fn raw(&self, images: &Tensor, progress: &mut dyn FnMut(usize, usize)) -> (Tensor, Option<Tensor>) {
        let _no_grad = tch::no_grad_guard();
        let total = images.size()[0] as usize;
        let (mut raw, mut logits, mut done) = (Vec::new(), Vec::new(), 0);
        for part in images.split(CHUNK, 0) {
            progress(done, total);
            done += part.size()[0] as usize;
            let embedding = self.embed(&as_signed(&part), |h| h);
            logits.extend(self.classify(&embedding));
            raw.push(embedding);
        }
        let joined = |parts: &[Tensor]| Tensor::cat(parts, 0).to_kind(Kind::Double);
        (joined(&raw), (!logits.is_empty()).then(|| joined(&logits)))
    }

    /// The predicted class of each image, `i64 [n]`, if the network is a classifier.
    pub fn classes(&self, images: &Tensor) -> Option<Tensor> {
        self.raw(images, &mut |_, _| ()).1.map(|logits| logits.argmax(1, false))
    }

    /// The share of `split` whose predicted class is its label.
    ///
    /// # Errors
    /// When the split has no labels, or the network is not a classifier.
    pub fn accuracy(&self, split: &Split) -> Result<f64> {
        let labels = split.labels().ok_or_else(|| Error::invalid("the split has no labels"))?;
        let classes = self.classes(&split.x).ok_or_else(|| Error::invalid("the network knows no classes"))?;
        Ok(classes.eq_tensor(labels).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]))
    }
}

/// A convolution whose padding keeps the size.
struct Plan {
    kernel: i64,
    outputs: i64,
    pooled: bool,
}

/// The convolutions for images whose larger side is `side`.
fn plan(side: i64) -> Vec<Plan> {
    let mut halvings = 0;
    let mut left = side;
    while left > 4 {
        left = (left + 1) / 2;
        halvings += 1;
    }
    let count = LEAST_STAGES.max(halvings + 1);
    let stage = |i: usize| Plan {
        kernel: if i == 0 { 5 } else { 3 },
        outputs: CHANNELS[i.min(CHANNELS.len() - 1)],
        // The last average is at the end, the others are as early as possible.
        pooled: halvings > 0 && (i + 1 < halvings || i + 1 == count),
    };
    (0..count).map(stage).collect()
}
