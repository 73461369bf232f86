use tch::{Kind, Tensor};

use super::{BatchNorm, BatchStatistics, EqualisedLinear, Linear};
use crate::params::{Init, Scope};

/// A convolution whose weights a style scales for each image, and normalises again (Karras et al. 2020, Analyzing and
/// Improving the Image Quality of StyleGAN, section 2.2).
///
/// > w'ᵢⱼₖ = sᵢ wᵢⱼₖ, w''ᵢⱼₖ = w'ᵢⱼₖ / √(Σᵢₖ w'ᵢⱼₖ² + ε)
#[derive(Debug)]
pub struct ModulatedConv2d {
    weight: Tensor,
    style: EqualisedLinear,
    demodulates: bool,
}

impl ModulatedConv2d {
    /// `inputs` to `outputs` channels by a kernel of odd side `kernel`, which keeps the size. Styles of `style_dim`
    /// numbers become a scale for each input channel, at first 1. Layers that make colours do not demodulate.
    pub fn new(scope: Scope<'_>, [inputs, outputs]: [i64; 2], kernel: i64, style_dim: i64, demodulates: bool) -> Self {
        let normal = Init::Normal { mean: 0.0, std: 1.0 };
        ModulatedConv2d {
            weight: scope.parameter("weight", &[outputs, inputs, kernel, kernel], normal),
            style: EqualisedLinear::new(&scope / "style", style_dim, inputs, 1.0, 1.0),
            demodulates,
        }
    }

    /// `x: [batch, inputs, height, width]` and `style: [batch, style_dim]` to `[batch, outputs, height, width]`.
    pub fn forward(&self, x: &Tensor, style: &Tensor) -> Tensor {
        modulated_conv2d(x, &self.weight, &self.style.forward(style), self.demodulates)
    }
}

/// The convolution of [`ModulatedConv2d`] with `scales: [batch, inputs]` of the weights `[outputs, inputs, kernel,
/// kernel]`. Without demodulation the weights are divided by √(inputs kernel²).
fn modulated_conv2d(x: &Tensor, weight: &Tensor, scales: &Tensor, demodulates: bool) -> Tensor {
    let [outputs, inputs, kernel, _] = weight.size()[..] else { panic!("weights of {:?}", weight.size()) };
    let [batch, _, height, width] = x.size()[..] else { panic!("a feature map is needed, found {:?}", x.size()) };
    let scaled = weight.unsqueeze(0) * scales.view([batch, 1, inputs, 1, 1]);
    let scaled = if demodulates {
        let norm = scaled.square().sum_dim_intlist([2, 3, 4].as_slice(), true, None::<Kind>);
        scaled * (norm + 1e-8).rsqrt()
    } else {
        scaled / ((inputs * kernel * kernel) as f64).sqrt()
    };
    // One group for each image.
    let weights = scaled.view([batch * outputs, inputs, kernel, kernel]);
    let maps = x.reshape([1, batch * inputs, height, width]);
    let side = kernel / 2;
    let y = maps.conv2d(&weights, None::<&Tensor>, [1, 1], [side, side], [1, 1], batch);
    y.view([batch, outputs, height, width])
}

/// x (1 + γ(c)) + β(c) for each channel, with linear γ and β that start at 0 (FiLM, Perez et al. 2018).
#[derive(Debug)]
pub struct Film {
    project: Linear,
}

impl Film {
    /// For `channels` channels and conditions of `condition_dim` numbers.
    pub fn new(scope: Scope<'_>, channels: i64, condition_dim: i64) -> Self {
        Film { project: Linear::zeros(scope / "project", condition_dim, 2 * channels) }
    }

    /// `x: [batch, channels, ...]` and `condition: [batch, condition_dim]`.
    pub fn forward(&self, x: &Tensor, condition: &Tensor) -> Tensor {
        let mut shape = vec![1; x.dim()];
        shape[..2].copy_from_slice(&x.size()[..2]);
        let both = self.project.forward(condition).chunk(2, 1);
        x * (both[0].view(shape.as_slice()) + 1.0) + both[1].view(shape.as_slice())
    }
}

/// Batch normalisation whose scale and shift depend on a condition (de Vries et al. 2017), such as the embedding of a
/// class.
#[derive(Debug)]
pub struct ConditionalBatchNorm {
    norm: BatchNorm,
    film: Film,
}

impl ConditionalBatchNorm {
    /// For `channels` channels and conditions of `condition_dim` numbers.
    pub fn new(scope: Scope<'_>, channels: i64, condition_dim: i64) -> Self {
        ConditionalBatchNorm {
            norm: BatchNorm::plain(&scope / "norm", channels),
            film: Film::new(scope, channels, condition_dim),
        }
    }

    /// `x: [batch, channels, ...]` and `condition: [batch, condition_dim]`.
    pub fn forward(&self, x: &Tensor, condition: &Tensor, statistics: BatchStatistics) -> Tensor {
        self.film.forward(&self.norm.forward(x, statistics, None), condition)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::params::Params;
    use crate::testing::{assert_close, assert_gradient, assert_penalty_gradient};

    const F64: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn each_image_has_its_own_weights_of_unit_length() {
        tch::manual_seed(0);
        let (x, weight) = (Tensor::randn([3, 2, 5, 4], F64), Tensor::randn([4, 2, 3, 3], F64));
        let scales = Tensor::randn([3, 2], F64);
        let y = modulated_conv2d(&x, &weight, &scales, true);
        for i in 0..3 {
            let own = &weight * scales.get(i).view([1, 2, 1, 1]);
            let own = &own / own.flatten(1, -1).norm_scalaropt_dim(2.0, [1], true).view([4, 1, 1, 1]);
            let expected = x.narrow(0, i, 1).conv2d(&own, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
            assert_close(&y.narrow(0, i, 1), &expected, 1e-7, 1e-7);
        }
        // A scale on a style changes nothing, and without demodulation it is a scale on the result.
        assert_close(&modulated_conv2d(&x, &weight, &(&scales * 3.0), true), &y, 1e-6, 1e-6);
        let plain = modulated_conv2d(&x, &weight, &scales, false);
        assert_close(&modulated_conv2d(&x, &weight, &(&scales * 3.0), false), &(plain * 3.0), 1e-9, 1e-9);
    }

    #[test]
    fn gradients_of_modulated_weights_and_styles_are_right() {
        tch::manual_seed(1);
        let (x, weight) = (Tensor::randn([2, 2, 3, 3], F64), Tensor::randn([2, 2, 3, 3], F64));
        let scales = Tensor::randn([2, 2], F64);
        let sum = |y: Tensor| y.sin().sum(Kind::Double);
        assert_gradient(|w| sum(modulated_conv2d(&x, w, &scales, true)), &weight, 1e-6);
        assert_gradient(|s| sum(modulated_conv2d(&x, &weight, s, true)), &scales, 1e-6);
        // Path length regularisation differentiates the gradient by styles.
        let layer = |s: &Tensor, w: &Tensor| modulated_conv2d(&x, w, s, true).sin();
        assert_penalty_gradient(layer, &scales, &weight, 1e-5);
    }

    #[test]
    fn a_layer_starts_with_styles_around_one() {
        tch::manual_seed(2);
        let params = Params::new(Kind::Double, Device::Cpu);
        let layer = ModulatedConv2d::new(params.root(), [3, 2], 3, 4, true);
        let x = Tensor::randn([2, 3, 4, 4], F64);
        let none = Tensor::zeros([2, 4], F64);
        let ones = Tensor::ones([2, 3], F64);
        assert_close(&layer.forward(&x, &none), &modulated_conv2d(&x, &layer.weight, &ones, true), 1e-9, 1e-9);
    }

    #[test]
    fn a_condition_scales_and_shifts_channels() {
        tch::manual_seed(3);
        let params = Params::new(Kind::Double, Device::Cpu);
        let film = Film::new(params.root(), 2, 3);
        let (x, c) = (Tensor::randn([4, 2, 3], F64), Tensor::randn([4, 3], F64));
        assert_close(&film.forward(&x, &c), &x, 1e-12, 1e-12);
        for (_, parameter) in params.trainable() {
            let _ = tch::no_grad(|| parameter.shallow_clone().uniform_(-1.0, 1.0));
        }
        let both = film.project.forward(&c);
        let expected = &x * (both.narrow(1, 0, 2).unsqueeze(2) + 1.0) + both.narrow(1, 2, 2).unsqueeze(2);
        assert_close(&film.forward(&x, &c), &expected, 1e-12, 1e-12);
        assert_gradient(|c| film.forward(&x, c).sin().sum(Kind::Double), &c, 1e-7);
        assert_penalty_gradient(|x, c| film.forward(x, c).sin(), &x, &c, 1e-6);
    }

    #[test]
    fn conditional_batch_normalisation_whitens_before_the_condition() {
        tch::manual_seed(4);
        let params = Params::new(Kind::Float, Device::Cpu);
        let layer = ConditionalBatchNorm::new(params.root(), 2, 3);
        let options = (Kind::Float, Device::Cpu);
        let (x, c) = (Tensor::randn([64, 2, 3, 3], options) * 3.0 + 1.0, Tensor::randn([64, 3], options));
        let y = layer.forward(&x, &c, BatchStatistics::Batch);
        let moments = |x: &Tensor| [x.mean(Kind::Double).double_value(&[]), x.std(true).double_value(&[])];
        let [mean, deviation] = moments(&y);
        assert!(mean.abs() < 1e-4 && (deviation - 1.0).abs() < 1e-2, "{mean} {deviation}");
        let names: Vec<_> = params.trainable().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["project.bias", "project.weight"]);
    }
}
