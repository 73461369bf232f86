//! Training of feature networks without labels.

use tch::{Kind, Reduction, Tensor};

use super::augment::{Views, flawed, patterned, viewed};
use super::network::{FEATURES, FeatureNetwork};
use super::training::{FeatureRecord, FeatureTraining, minimise, outlier_loss, with_outliers};
use gen_core::Result;
use gen_core::data::{Batch, Dataset};
use gen_core::nn::Linear;
use gen_core::params::NamedTensors;
use gen_core::rng::Generator;

/// Name of the layers that training alone needs.
const EXPANDER: &str = "expander";
/// Term under the root of a variance, which keeps its gradient finite (Bardes et al. 2022, equation 2).
const EPSILON: f64 = 1e-4;

/// Settings of self-supervised training beside [`FeatureTraining`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfSupervision {
    /// Share of a batch whose views have stripes, checks or speckles of their own.
    pub patterns: f64,
    /// Ranges of the views of an image.
    pub views: Views,
    /// Units of the two layers from the features to the vectors of the loss.
    pub expander: i64,
    /// Weight of the distance between two views of an image.
    pub invariance: f64,
    /// Weight of the hinge loss that keeps every standard deviation at 1 or more.
    pub variance: f64,
    /// Weight of the covariances.
    pub covariance: f64,
    /// Weight of the correlations between features.
    pub decorrelation: f64,
    /// Weight of the loss of outliers.
    pub outlier_weight: f64,
}

impl Default for SelfSupervision {
    fn default() -> Self {
        SelfSupervision {
            views: Views { shift: 2.0, zoom: 0.15, turn: 8.0, contrast: 0.2, flip: false },
            patterns: 0.25,
            expander: 256,
            invariance: 25.0,
            variance: 25.0,
            covariance: 1.0,
            decorrelation: 1.0,
            outlier_weight: 10.0,
        }
    }
}

/// Trains a network on the images of the training split of `data`, without their labels, and whitens its features.
///
/// The loss is VICReg (Bardes, Ponce & LeCun 2022): two views of an image should have the same vector, and the vectors
/// of a batch should vary in every direction without correlation. Views differ by shift, size, rotation and brightness,
/// some by a pattern and, if `config` or the views say so, by reflection.
///
/// - The features themselves should not be correlated either. The loss of the vectors alone lets them vary in a few
///   directions, and images unlike all others are then close to some of them.
/// - A flaw (blur, a little noise) is the same in both views of an image, so the network has to keep it.
/// - Outliers made from the images are classified as such, as in [`train`](crate::features::train); they need no
///   labels. They have views as well, so that they do not collapse to one vector, which might be close to an unusual
///   image.
///
/// # Errors
/// When the data is not images.
pub fn train_self_supervised(
    data: &Dataset,
    config: &FeatureTraining,
    supervision: &SelfSupervision,
    mut observe: impl FnMut(FeatureRecord),
) -> Result<FeatureNetwork> {
    let network = FeatureNetwork::self_supervised(data.spec.shape, config.seed)?;
    let root = network.params().root() / EXPANDER;
    let expander = [
        Linear::new(&root / "0", FEATURES, supervision.expander),
        Linear::new(&root / "1", supervision.expander, supervision.expander),
    ];
    // Each view is mirrored independently.
    let views = Views { flip: config.flip || supervision.views.flip, ..supervision.views };
    let config = FeatureTraining { flip: false, ..*config };
    let loss = |Batch { x, .. }: &Batch, rng: &Generator| {
        let images = flawed(x, config.flaws, config.blur, config.noise, rng);
        let (images, made) = with_outliers(&images, x, config.outliers, rng);
        let parts = images.split_with_sizes([images.size()[0] - made, made], 0);
        let view = || {
            let real = patterned(&parts[0], supervision.patterns, rng);
            viewed(&Tensor::cat(&[&real, &parts[1]], 0), &views, rng)
        };
        let views = [view(), view()];
        let embeddings = views.map(|view| network.embed(&view, |h| h));
        let [a, b] = embeddings.each_ref().map(|h| expander[1].forward(&expander[0].forward(h).silu()));
        let mean = |of: &dyn Fn(&Tensor) -> Tensor| (of(&embeddings[0]) + of(&embeddings[1])) / 2.0;
        let loss = vicreg(&a, &b, supervision) + mean(&correlations) * supervision.decorrelation;
        match made {
            0 => loss,
            made => loss + mean(&|h| outlier_loss(&network, h, made)) * supervision.outlier_weight,
        }
    };
    minimise(network.params(), data, &config, loss, || Ok(None), &mut observe)?;
    let mut trained = FeatureNetwork::self_supervised(data.spec.shape, config.seed)?;
    let kept: NamedTensors =
        network.params().all().into_iter().filter(|(name, _)| !name.starts_with(EXPANDER)).collect();
    trained.params().all().assign(&kept)?;
    trained.whiten(&data.train.x);
    Ok(trained)
}

/// Equation 6 of Bardes et al. (2022) for the vectors of two views, `[n, dimensions]` each, with the averages of the
/// authors' program, to which the default weights belong: the invariance is a mean over dimensions too, and the
/// variance over views.
fn vicreg(a: &Tensor, b: &Tensor, weights: &SelfSupervision) -> Tensor {
    let invariance = a.mse_loss(b, Reduction::Mean);
    let (mut variance, mut covariance): (Tensor, Tensor) = (Tensor::from(0f32), Tensor::from(0f32));
    for z in [a, b] {
        let (rows, dimensions) = (z.size()[0] as f64, z.size()[1] as f64);
        let centred = z - z.mean_dim(0, true, Kind::Float);
        let products = centred.tr().matmul(&centred) / (rows - 1.0);
        let variances = products.diagonal(0, 0, 1);
        let deviations: Tensor = (&variances + EPSILON).sqrt();
        let missing: Tensor = 1.0 - deviations;
        variance += missing.relu().mean(Kind::Float) / 2.0;
        covariance += (products.square().sum(Kind::Float) - variances.square().sum(Kind::Float)) / dimensions;
    }
    invariance * weights.invariance + variance * weights.variance + covariance * weights.covariance
}

/// The sum of the squared correlations of a feature of `h: [n, dimensions]` with all others, averaged over the features
/// (the second term of Zbontar et al. 2021, equation 1, within one view): a scalar.
fn correlations(h: &Tensor) -> Tensor {
    let centred = h - h.mean_dim(0, true, Kind::Float);
    let scaled = &centred / (centred.square().mean_dim(0, true, Kind::Float) + EPSILON).sqrt();
    let correlations = scaled.tr().matmul(&scaled) / h.size()[0] as f64;
    let own = correlations.diagonal(0, 0, 1).square().sum(Kind::Float);
    (correlations.square().sum(Kind::Float) - own) / h.size()[1] as f64
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// Each of the three terms by a case in which it alone is left.
    #[test]
    fn the_loss_is_that_of_the_paper() {
        let value = |a: &Tensor, b: &Tensor| vicreg(a, b, &SelfSupervision::default()).double_value(&[]);
        // Variance 4/3 in both directions, which do not vary together; the views agree.
        let square = Tensor::from_slice(&[1f32, 1., 1., -1., -1., 1., -1., -1.]).view([4, 2]);
        assert!(value(&square, &square).abs() < 1e-5);
        // The views are 2 apart in one of two directions.
        let moved = &square + Tensor::from_slice(&[2f32, 0.]);
        assert!((value(&square, &moved) - 25.0 * 2.0).abs() < 1e-4);
        // No variance at all, in either view: the root of epsilon is left.
        let flat = Tensor::zeros([4, 2], (Kind::Float, Device::Cpu));
        assert!((value(&flat, &flat) - 25.0 * (1.0 - 0.01)).abs() < 1e-4);
        // Both directions are the same: 2 · (4/3)² over 2 dimensions, for each view.
        let same = square.narrow(1, 0, 1).expand([4, 2], false);
        assert!((value(&same, &same) - 2.0 * (4f64 / 3.0).powi(2)).abs() < 1e-4);
    }

    #[test]
    fn correlations_do_not_depend_on_scale() {
        let a = [2f32, 4., 4., 6., 9., 5.];
        let b = [1f32, -3., 2., 8., 4., 0.];
        let mean = |x: &[f32]| x.iter().sum::<f32>() / 6.0;
        let product = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(p, q)| (p - mean(x)) * (q - mean(y))).sum::<f32>();
        let expected = f64::from(product(&a, &b).powi(2) / product(&a, &a) / product(&b, &b));
        for scale in [1.0, 100.0] {
            let rows = Tensor::stack(&[Tensor::from_slice(&a) * scale, Tensor::from_slice(&b) * 3.0], 1);
            let found = correlations(&rows).double_value(&[]);
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        assert!(correlations(&Tensor::zeros([4, 3], (Kind::Float, Device::Cpu))).double_value(&[]).abs() < 1e-6);
    }
}
