use gen_core::params::Scope;

use super::config::SplineImageConfig;
use crate::bijection::{Coupling, Layer, Mask, Permutation};
use crate::conditioner::{Conditioner, ConvConditioner};
use crate::images::Scale;
use crate::univariate::RationalQuadratic;

/// How each 2 × 2 block is split, the half that is kept first: a chessboard, rows, columns. The places in a block are
/// numbered as [`Squeeze`](crate::bijection::Squeeze) does.
const SPLITS: [[[i64; 2]; 2]; 3] = [[[0, 3], [1, 2]], [[0, 1], [2, 3]], [[0, 2], [1, 3]]];

/// Couplings of a squeezed image by splines, a pair for each split of its blocks in turn: of one half given the other,
/// then the other way round.
pub(super) fn splines(
    place: &Scope<'_>,
    config: &SplineImageConfig,
    spline: RationalQuadratic,
    scale: &Scale,
) -> Vec<Box<dyn Layer>> {
    let [channels, height, width] = scale.shape;
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    let mut layout: Vec<i64> = (0..channels).collect();
    for i in 0..config.spline_couplings {
        let place = place / format!("splines.{i}");
        if i.is_multiple_of(2) {
            let split = SPLITS[i / 2 % SPLITS.len()];
            let halves = split.map(|half| (0..channels).filter(move |c| half.contains(&(c % 4))));
            let next: Vec<i64> = halves.into_iter().flatten().collect();
            layers.push(Box::new(Permutation::new(&place / "split", &from_to(&layout, &next))));
            layout = next;
        }
        let &SplineImageConfig { spline_width, spline_blocks, .. } = config;
        let net = |inputs, outputs| -> Box<dyn Conditioner> {
            let inputs = [inputs, height, width];
            Box::new(ConvConditioner::new(&place / "net", inputs, 0, spline_width, spline_blocks, outputs))
        };
        layers.push(Box::new(Coupling::of_size(Mask::alternating(channels, i), channels, spline, net)));
    }
    layers
}

/// The order that takes channels in the order `now` to the order `next`.
fn from_to(now: &[i64], next: &[i64]) -> Vec<i64> {
    next.iter().filter_map(|channel| now.iter().position(|at| at == channel)).map(|at| at as i64).collect()
}

#[cfg(test)]
mod tests {
    use gen_core::data::Dataset;
    use gen_core::params::Params;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::bijection::{Bijection, Squeeze};
    use crate::given::Given;
    use crate::model::Architecture;

    /// The places in each 2 × 2 block, of three channels of 4 × 4: 0 1 / 2 3.
    fn places() -> Tensor {
        let rows = Tensor::arange(4, (Kind::Float, Device::Cpu)).remainder(2);
        (rows.unsqueeze(1) * 2 + rows).expand([1, 3, 4, 4], true).contiguous()
    }

    #[test]
    fn splits_are_a_chessboard_then_rows_then_columns() {
        let params = Params::new(Kind::Float, Device::Cpu);
        let config = SplineImageConfig { spline_couplings: 6, ..SplineImageConfig::default() };
        let scale = Scale { index: 0, is_last: true, shape: [12, 2, 2], kept: 6 };
        let layers = splines(&params.root(), &config, config.spline().unwrap(), &scale);
        // Six couplings, and an order before every second one. They are the identity, to rounding, until they are
        // trained.
        assert_eq!(layers.len(), 9);
        let mut x = Squeeze.forward(&places(), Given::NOTHING).0;
        let mut found = Vec::new();
        for layer in &layers {
            x = layer.forward(&x, Given::NOTHING).0;
            if !layer.is_step() {
                let places = x.select(2, 0).select(2, 0).flatten(0, -1).round().to_kind(Kind::Int64);
                found.push(Vec::<i64>::try_from(places).unwrap());
            }
        }
        let of = |[first, last]: [[i64; 2]; 2]| [[first; 3].concat(), [last; 3].concat()].concat();
        assert_eq!(found, [[[0, 3], [1, 2]], [[0, 1], [2, 3]], [[0, 2], [1, 3]]].map(of));
    }

    #[test]
    fn colour_images_come_back() {
        let x = Tensor::randint(256, [64, 3, 8, 8], (Kind::Uint8, Device::Cpu));
        let data = Dataset::from_tensor("noise", x.shallow_clone()).unwrap().spec;
        let params = Params::new(Kind::Double, Device::Cpu);
        let config = crate::NSF.config(&data);
        let design = crate::SplineCouplings::design(&config, &params, &data).unwrap();
        let flow = design.flow.bijection();
        let x = (x.to_kind(Kind::Double) + 0.5) / 256.0;
        let _ = flow.initialise(&x, Given::NOTHING);
        let (z, log_det) = flow.forward(&x, Given::NOTHING);
        assert_eq!(z.size(), [64, 3 * 64]);
        let (back, inverse_log_det) = flow.inverse(&z, Given::NOTHING);
        gen_core::testing::assert_close(&back, &x, 0.0, 1e-9);
        gen_core::testing::assert_close(&inverse_log_det, &-log_det, 1e-9, 1e-6);
    }
}
