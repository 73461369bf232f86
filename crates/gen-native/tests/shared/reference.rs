//! The operations of this crate written out with those of libtorch.

use gen_native::{Ends, Knots, Order, Spline, Way};
use tch::{Kind, Tensor};

/// An affine coupling: the values, and the log-determinant of each row.
pub(crate) fn coupling(
    same: Option<&Tensor>,
    rest: &Tensor,
    parameters: &Tensor,
    bound: Option<&Tensor>,
    order: Order,
    way: Way,
) -> Vec<Tensor> {
    let parameters = parameters.chunk(2, 1);
    let mut s = match bound {
        Some(bound) => parameters[0].tanh() * bound.reshape([0i64; 0]),
        None => parameters[0].shallow_clone(),
    };
    let moved = match way {
        Way::Forward => rest * s.exp() + &parameters[1],
        Way::Inverse => {
            s = -s;
            (rest - &parameters[1]) * s.exp()
        }
    };
    vec![joined(same, &moved, order), summed(&s)]
}

/// The kept and the moved values in one tensor.
pub(crate) fn joined(same: Option<&Tensor>, moved: &Tensor, order: Order) -> Tensor {
    match (same, order) {
        (None, _) => moved.shallow_clone(),
        (Some(same), Order::SameFirst) => Tensor::cat(&[same, moved], 1),
        (Some(same), Order::MovedFirst) => Tensor::cat(&[moved, same], 1),
    }
}

/// The sum of each row.
pub(crate) fn summed(x: &Tensor) -> Tensor {
    x.flatten(1, -1).sum_dim_intlist(1, false, x.kind())
}

/// Durkan et al. 2019, section 3.1, with the root of the paper: values and log-slopes.
pub(crate) fn spline(x: &Tensor, parameters: &Tensor, of: &Spline, way: Way) -> [Tensor; 2] {
    let k = of.bins;
    let mut sizes = x.size();
    sizes.insert(1, of.parameters());
    let raw = parameters.reshape(&sizes);
    let of_raw = |first: i64, n: i64| raw.narrow(1, first, n);
    let length = of.high - of.low;
    let part = |first: i64| match of.knots {
        Knots::SoftClip { slope } => {
            let raw = of_raw(first, k);
            let shrink: Tensor = 1.0 + (&raw * 2.0 / slope.ln()).abs();
            (raw / shrink).softmax(1, Kind::Double) * length
        }
        Knots::Floor { width, height, .. } => {
            let least = if first == 0 { width } else { height };
            (least + (1.0 - least * k as f64) * of_raw(first, k).softmax(1, Kind::Double)) * length
        }
    };
    let slopes = of_raw(2 * k, of.parameters() - 2 * k);
    let slopes = match of.knots {
        Knots::SoftClip { slope } => {
            let shrink: Tensor = 1.0 + (&slopes / slope.ln()).abs();
            (slopes / shrink).exp()
        }
        Knots::Floor { slope, .. } => slopes.exp().log1p() + slope,
    };
    let one = x.ones_like().unsqueeze(1);
    let slopes = match of.ends {
        Ends::Unit => Tensor::cat(&[&one, &slopes, &one], 1),
        Ends::Free => slopes,
    };
    let (widths, heights) = (part(0), part(k));
    let knots = |sizes: &Tensor| {
        let first = (&one * of.low).shallow_clone();
        Tensor::cat(&[&first, &(sizes.cumsum(1, Kind::Double) + of.low)], 1)
    };
    let (xs, ys) = (knots(&widths), knots(&heights));
    let along = if way == Way::Forward { &xs } else { &ys };
    let inside = x.clamp(of.low, of.high);
    let bin = inside.unsqueeze(1).ge_tensor(&along.narrow(1, 1, k - 1)).sum_dim_intlist(1, true, Kind::Int64);
    let at = |all: &Tensor, offset: i64| all.gather(1, &(&bin + offset), false).squeeze_dim(1);
    let (x0, y0, w, h) = (at(&xs, 0), at(&ys, 0), at(&widths, 0), at(&heights, 0));
    let (d0, d1) = (at(&slopes, 0), at(&slopes, 1));
    let s = &h / &w;
    let excess = &d0 + &d1 - &s * 2.0;
    let xi = match way {
        Way::Forward => (&inside - &x0) / &w,
        Way::Inverse => {
            let t = &inside - &y0;
            let a = &h * (&s - &d0) + &t * &excess;
            let b = &h * &d0 - &t * &excess;
            let c = -&s * &t;
            &c * 2.0 / (-&b - (b.square() - a * &c * 4.0).sqrt())
        }
    };
    let rest: Tensor = 1.0 - &xi;
    let product = &xi * &rest;
    let d = &s + &excess * &product;
    let slope = s.square() * (&d1 * xi.square() + &s * &product * 2.0 + &d0 * rest.square()) / d.square();
    let mut log = slope.log();
    let mut y = match way {
        Way::Forward => &y0 + &h * (&s * xi.square() + &d0 * &product) / &d,
        Way::Inverse => {
            log = -log;
            &x0 + &w * &xi
        }
    };
    let end = |i: i64| match way {
        Way::Forward => slopes.select(1, i),
        Way::Inverse => 1.0 / slopes.select(1, i),
    };
    for (outside, edge, end) in [(x.lt(of.low), of.low, end(0)), (x.gt(of.high), of.high, end(k))] {
        y = (edge + (x - edge) * &end).where_self(&outside, &y);
        log = end.log().where_self(&outside, &log);
    }
    [y, log]
}

/// The weight, the bias and the log-determinant of a mixing of channels.
pub(crate) fn mixing(inputs: &[Tensor], permutation: &Tensor, sign: &Tensor, way: Way) -> Vec<Tensor> {
    let [scale, shift, lower, upper, log_scale] = inputs else { unreachable!() };
    let n = lower.size()[0];
    let lower = lower.tril(-1) + Tensor::eye(n, (lower.kind(), lower.device()));
    let upper = upper.triu(1) + (log_scale.exp() * sign).diag_embed(0, 0, 1);
    let matrix = permutation.matmul(&lower).matmul(&upper);
    let log_det = log_scale.sum(scale.kind()) + scale.sum(scale.kind());
    match way {
        Way::Forward => vec![&matrix * scale.exp(), matrix.mv(shift), log_det],
        Way::Inverse => {
            let slope = (-scale).exp();
            vec![matrix.inverse() * slope.unsqueeze(1), -shift * slope, -log_det]
        }
    }
}

/// Linear layers with max(0, x) between them, each weight multiplied by its mask if there are masks.
pub(crate) fn layers(x: &Tensor, layers: &[Tensor], masks: &[Tensor]) -> Tensor {
    layers.chunks(2).enumerate().fold(x.shallow_clone(), |h, (i, layer)| {
        let h = if i > 0 { h.relu() } else { h };
        match masks.get(i) {
            Some(mask) => h.linear(&(&layer[0] * mask.to_kind(h.kind())), Some(&layer[1])),
            None => h.linear(&layer[0], Some(&layer[1])),
        }
    })
}

/// ln(σ((x - μ + h) / s) - σ((x - μ - h) / s)), with infinite edges for the outermost bins, summed over each row.
pub(crate) fn logistic(mean: &Tensor, log_scale: &Tensor, x: &Tensor, half: f64) -> Tensor {
    let precision = log_scale.reshape([0i64; 0]).neg().exp();
    let outermost = [x.gt(1.0 - half), x.lt(half - 1.0)];
    let upper = ((x - mean + half) * &precision).log_sigmoid().masked_fill(&outermost[0], 0.0);
    let lower = ((mean - x + half) * &precision).log_sigmoid().masked_fill(&outermost[1], 0.0);
    let inner = (&precision * (-2.0 * half)).expm1().neg().log();
    let inner = inner.expand_as(x).masked_fill(&outermost[0].logical_or(&outermost[1]), 0.0);
    (upper + lower + inner).reshape([x.size()[0], -1]).sum_dim_intlist(1, false, x.kind())
}
