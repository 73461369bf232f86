//! Couplings, splines and mixings.

use gen_native::{
    Ends, Factors, Knots, Order, Spline, Way, affine_coupling, join_channels, mixing, spline, spline_coupling,
    split_channels,
};
use tch::{Kind, Tensor};

use crate::case::{Case, Input, Values, learned, structured};
use crate::draw::Draw;
use crate::shared::reference;

const ORDERS: [Order; 2] = [Order::SameFirst, Order::MovedFirst];
const WAYS: [Way; 2] = [Way::Forward, Way::Inverse];

/// Points or maps: the rows, and the dimensions after the channels.
fn around(draw: &mut Draw) -> (i64, Vec<i64>) {
    let dimensions = draw.pick(&[0, 0, 1, 2, 2, 2, 3]);
    (draw.rows(), (0..dimensions).map(|_| draw.few(4)).collect())
}

fn with_channels(around: &(i64, Vec<i64>), channels: i64) -> Vec<i64> {
    [&[around.0, channels][..], &around.1].concat()
}

pub(crate) fn affine_coupling_of(draw: &mut Draw) -> Case {
    let around = around(draw);
    let (order, way, moved) = (draw.pick(&ORDERS), draw.pick(&WAYS), draw.few(4));
    let (keeps, bounded) = (draw.chance(70), draw.chance(50));
    let mut tensors = vec![
        learned(draw, "rest", &with_channels(&around, moved), Values::Grid),
        learned(draw, "parameters", &with_channels(&around, 2 * moved), Values::Grid),
    ];
    if keeps {
        let kept = draw.few(4);
        tensors.push(learned(draw, "same", &with_channels(&around, kept), Values::Grid));
    }
    if bounded {
        let shape: &[i64] = draw.pick(&[&[], &[1], &[1, 1, 1, 1, 1, 1]]);
        tensors.push(learned(draw, "bound", shape, Values::Positive));
    }
    let parts = move |x: &[Tensor]| {
        let same = keeps.then(|| x[2].shallow_clone());
        (same, bounded.then(|| x[x.len() - 1].shallow_clone()))
    };
    let ours = move |x: &[Tensor]| {
        let (same, bound) = parts(x);
        let coupled = affine_coupling(same.as_ref(), &x[0], &x[1], bound.as_ref(), order, way)?;
        Ok(vec![coupled.values, coupled.log_det])
    };
    let theirs = move |x: &[Tensor]| {
        let (same, bound) = parts(x);
        reference::coupling(same.as_ref(), &x[0], &x[1], bound.as_ref(), order, way)
    };
    Case::new(format!("{order:?}, {way:?}"), tensors, ours, theirs)
}

pub(crate) fn any_spline(draw: &mut Draw) -> Spline {
    let (low, high) = draw.pick(&[(-3.0, 3.0), (-1.0, 2.5), (0.0, 1.0)]);
    let floor = Knots::Floor { width: 1e-3, height: 2e-3, slope: 0.01 };
    Spline {
        bins: draw.pick(&[1, 2, 3, 5, 8]),
        low,
        high,
        knots: draw.pick(&[Knots::SoftClip { slope: 1e-3 }, floor]),
        ends: draw.pick(&[Ends::Unit, Ends::Free]),
    }
}

fn spline_inputs(draw: &mut Draw, around: &(i64, Vec<i64>), of: &Spline) -> Vec<Input> {
    let channels = draw.few(3);
    vec![
        learned(draw, "x", &with_channels(around, channels), Values::Normal(0.3, 1.5)),
        learned(draw, "parameters", &with_channels(around, of.parameters() * channels), Values::Normal(0.0, 1.0)),
    ]
}

/// In single precision, gradients are less exact than values. Knots are sums of rounded widths: between knots that are
/// 0.001 apart, a place is known to 1e-4, and the slope there to the tolerance. libtorch's own operations have the same
/// error in single precision: 2.0e-3 in case 18006 of seed 501796817, like our loops.
fn of_splines(case: Case) -> Case {
    Case { precision: 64.0 * f64::from(f32::EPSILON), ..case }.tolerances([4e-3, 1e-8], [3e-2, 1e-5])
}

pub(crate) fn spline_of(draw: &mut Draw) -> Case {
    let (around, of, way) = (around(draw), any_spline(draw), draw.pick(&WAYS));
    let tensors = spline_inputs(draw, &around, &of);
    let ours = move |x: &[Tensor]| {
        let mapped = spline(&x[0], &x[1], &of, way)?;
        Ok(vec![mapped.values, mapped.log_slope])
    };
    let theirs = move |x: &[Tensor]| reference::spline(&x[0], &x[1], &of, way).into();
    of_splines(Case::new(format!("{of:?}, {way:?}"), tensors, ours, theirs))
}

pub(crate) fn spline_coupling_of(draw: &mut Draw) -> Case {
    let (around, of) = (around(draw), any_spline(draw));
    let (order, way, keeps) = (draw.pick(&ORDERS), draw.pick(&WAYS), draw.chance(70));
    let mut tensors = spline_inputs(draw, &around, &of);
    if keeps {
        let kept = draw.few(3);
        tensors.push(learned(draw, "same", &with_channels(&around, kept), Values::Grid));
    }
    let ours = move |x: &[Tensor]| {
        let coupled = spline_coupling(x.get(2), &x[0], &x[1], &of, order, way)?;
        Ok(vec![coupled.values, coupled.log_det])
    };
    let theirs = move |x: &[Tensor]| {
        let [moved, log] = reference::spline(&x[0], &x[1], &of, way);
        vec![reference::joined(x.get(2), &moved, order), reference::summed(&log)]
    };
    of_splines(Case::new(format!("{of:?}, {order:?}, {way:?}"), tensors, ours, theirs))
}

pub(crate) fn mixing_of(draw: &mut Draw) -> Case {
    let (n, way) = (draw.few(7), draw.pick(&WAYS));
    let size = n as usize;
    let mut tensors: Vec<Input> =
        [("scale", vec![n]), ("shift", vec![n]), ("lower", vec![n, n]), ("upper", vec![n, n])]
            .into_iter()
            .chain([("log_scale", vec![n])])
            .map(|(name, shape)| learned(draw, name, &shape, Values::Normal(0.0, 0.4)))
            .collect();
    let mut permutation = vec![0.0; size * size];
    for (i, j) in draw.order(size).into_iter().enumerate() {
        permutation[i * size + j] = 1.0;
    }
    let sign = (0..n).map(|_| draw.pick(&[-1.0, 1.0])).collect();
    tensors.push(structured("permutation", &[n, n], permutation));
    tensors.push(structured("sign", &[n], sign));
    let ours = move |x: &[Tensor]| {
        let [scale, shift, lower, upper, log_scale, permutation, sign] = x else { unreachable!() };
        let factors = Factors { scale, shift, lower, upper, log_scale, permutation, sign };
        let mixing = mixing(factors, way)?;
        Ok(vec![mixing.weight, mixing.bias, mixing.log_det])
    };
    let theirs = move |x: &[Tensor]| reference::mixing(&x[..5], &x[5], &x[6], way);
    Case::new(format!("{way:?}"), tensors, ours, theirs).tolerances([1e-4, 1e-9], [1e-3, 1e-7])
}

pub(crate) fn split_channels_of(draw: &mut Draw) -> Case {
    let (around, channels) = (around(draw), draw.few(6));
    let at = draw.from(0..=channels);
    let tensors = vec![learned(draw, "x", &with_channels(&around, channels), Values::Grid)];
    let ours = move |x: &[Tensor]| split_channels(&x[0], at).map(Vec::from);
    let theirs = move |x: &[Tensor]| vec![x[0].narrow(1, 0, at), x[0].narrow(1, at, x[0].size()[1] - at)];
    Case::new(format!("at {at}"), tensors, ours, theirs)
}

pub(crate) fn join_channels_of(draw: &mut Draw) -> Case {
    let around = around(draw);
    let [a, b] = [draw.few(4), draw.few(4)];
    let tensors = vec![
        learned(draw, "a", &with_channels(&around, a), Values::Grid),
        learned(draw, "b", &with_channels(&around, b), Values::Grid),
    ];
    let ours = |x: &[Tensor]| Ok(vec![join_channels(&x[0], &x[1])?]);
    let theirs = |x: &[Tensor]| {
        // libtorch drops tensors of shape [0], whatever the shapes of the others.
        assert!(x.iter().all(|x| x.dim() >= 2 && x.kind() == Kind::Double));
        vec![Tensor::cat(x, 1)]
    };
    Case::new(String::new(), tensors, ours, theirs)
}
