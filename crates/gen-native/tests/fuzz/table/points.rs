//! Networks of points, and inverses that go value by value.

use gen_native::{Degrees, Order, Univariate, Way, autoregressive_inverse, masked_perceptron, perceptron};
use tch::{Kind, TchError, Tensor};

use super::flows::any_spline;
use crate::case::{Case, Input, Role, Values, fixed, learned, structured};
use crate::draw::Draw;
use crate::shared::reference;

/// The units of each layer, from the inputs on.
fn widths(draw: &mut Draw) -> Vec<i64> {
    let depth = draw.from(1..=3);
    (0..=depth).map(|_| if draw.chance(6) { draw.pick(&[64, 70, 128, 140]) } else { draw.few(12) }).collect()
}

fn layers(draw: &mut Draw, widths: &[i64]) -> Vec<Input> {
    let mut tensors = Vec::new();
    for (i, pair) in widths.windows(2).enumerate() {
        tensors.push(learned(draw, &format!("weight {i}"), &[pair[1], pair[0]], Values::Grid));
        tensors.push(learned(draw, &format!("bias {i}"), &[pair[1]], Values::Grid));
    }
    tensors
}

fn points(draw: &mut Draw, features: i64) -> Input {
    let mut shape = vec![draw.rows()];
    if draw.chance(8) {
        shape.push(draw.few(3));
    }
    shape.push(features);
    learned(draw, "x", &shape, Values::Grid)
}

pub(crate) fn perceptron_of(draw: &mut Draw) -> Case {
    let widths = widths(draw);
    let mut tensors = vec![points(draw, widths[0])];
    tensors.extend(layers(draw, &widths));
    let ours = |x: &[Tensor]| Ok(vec![perceptron(&x[0], &x[1..].iter().collect::<Vec<_>>())?]);
    let theirs = |x: &[Tensor]| vec![reference::layers(&x[0], &x[1..], &[])];
    Case::new(format!("widths {widths:?}"), tensors, ours, theirs)
}

pub(crate) fn masked_perceptron_of(draw: &mut Draw) -> Case {
    let widths = widths(draw);
    let mut tensors = vec![points(draw, widths[0])];
    tensors.extend(layers(draw, &widths));
    let first = tensors.len();
    for (i, pair) in widths.windows(2).enumerate() {
        let mask = (0..pair[0] * pair[1]).map(|_| draw.pick(&[0.0, 1.0])).collect();
        let mask = structured(&format!("mask {i}"), &[pair[1], pair[0]], mask);
        tensors.push(Input { structured: false, ..mask });
    }
    let ours = move |x: &[Tensor]| {
        let (layers, masks): (Vec<_>, Vec<_>) = (x[1..first].iter().collect(), x[first..].iter().collect());
        Ok(vec![masked_perceptron(&x[0], &layers, &masks)?])
    };
    let theirs = move |x: &[Tensor]| {
        for (layer, mask) in x[1..first].chunks(2).zip(&x[first..]) {
            assert_eq!(layer[0].size(), mask.size());
        }
        vec![reference::layers(&x[0], &x[1..first], &x[first..])]
    };
    Case::new(format!("widths {widths:?}"), tensors, ours, theirs)
}

pub(crate) fn autoregressive_inverse_of(draw: &mut Draw) -> Case {
    let (rows, values, features) = (draw.rows(), draw.from(1..=5), draw.pick(&[0, 0, 1, 3]));
    let of = draw.chance(50).then(|| any_spline(draw));
    let bounded = of.is_none() && draw.chance(50);
    let parameters = of.map_or(2, |of| of.parameters());
    let inputs: Vec<i64> = draw.order(values as usize).iter().map(|&i| i as i64 + 1).collect();
    let depth = draw.from(0..=2);
    let hidden: Vec<Vec<i64>> =
        (0..depth).map(|_| (0..draw.few(20)).map(|_| draw.from(0..=values - 1)).collect()).collect();
    let mut tensors = vec![fixed(draw, "y", &[rows, values], Values::Normal(0.0, 1.0))];
    if features > 0 {
        tensors.push(fixed(draw, "context", &[rows, features], Values::Normal(0.0, 1.0)));
    }
    let mut width = features + values;
    let all = hidden.iter().map(|units| units.len() as i64).chain([values * parameters]);
    for (i, units) in all.enumerate() {
        let scale = 0.6 / (width.max(1) as f64).sqrt();
        tensors.push(learned(draw, &format!("weight {i}"), &[units, width], Values::Normal(0.0, scale)));
        tensors.push(learned(draw, &format!("bias {i}"), &[units], Values::Normal(0.0, 0.5)));
        width = units;
    }
    if bounded {
        tensors.push(fixed(draw, "bound", &[1], Values::Positive));
    }
    let n_before = tensors.len() - 2 * (depth as usize + 1) - usize::from(bounded);
    let masks = masks(&inputs, &hidden, features, parameters);
    // Nothing has a gradient.
    for input in &mut tensors {
        input.role = Role::Fixed;
    }
    let settings = format!("degrees {inputs:?}, {hidden:?}, {of:?}");
    let after = tensors.len() - usize::from(bounded);
    let count = inputs.len();
    let ours = move |x: &[Tensor]| {
        let univariate = match &of {
            Some(of) => Univariate::Spline(of),
            None => Univariate::Affine { bound: x.get(after) },
        };
        let layers: Vec<&Tensor> = x[n_before..after].iter().collect();
        let degrees = Degrees { inputs: &inputs, hidden: &hidden };
        let context = (n_before > 1).then(|| &x[1]);
        let found = autoregressive_inverse(&x[0], context, &layers, degrees, univariate)?;
        Ok::<_, TchError>(found.map(|found| vec![found.values, found.log_det]))
    };
    // As many passes as there are values, all of them in each.
    let theirs = move |x: &[Tensor]| {
        let y = &x[0];
        assert!(y.dim() == 2 && y.size()[1] == count as i64);
        assert!(
            x[n_before..after]
                .chunks(2)
                .zip(&masks)
                .all(|(layer, mask)| { layer[0].size() == mask.size() && layer[1].size() == mask.size()[..1] })
        );
        let (mut found, mut log_det) = (y.zeros_like(), Tensor::new());
        for _ in 0..count {
            let all: Vec<&Tensor> = x[1..n_before].iter().chain([&found]).collect();
            let numbers = reference::layers(&Tensor::cat(&all, 1), &x[n_before..after], &masks);
            let back = match &of {
                Some(of) => {
                    let [back, log] = reference::spline(y, &numbers, of, Way::Inverse);
                    vec![back, reference::summed(&log)]
                }
                None => reference::coupling(None, y, &numbers, x.get(after), Order::SameFirst, Way::Inverse),
            };
            let [back, log] = <[Tensor; 2]>::try_from(back).unwrap();
            (found, log_det) = (back, log);
        }
        vec![found, log_det]
    };
    // Errors of a value grow with those that follow it.
    let case = Case::new(settings, tensors, |_| Ok(Vec::new()), theirs);
    Case { ours: Box::new(ours), ..case }.tolerances([1e-3, 1e-9], [1.0, 1.0])
}

/// Masks, by degrees.
fn masks(inputs: &[i64], hidden: &[Vec<i64>], features: i64, parameters: i64) -> Vec<Tensor> {
    let mut seen = vec![0; features as usize];
    seen.extend(inputs);
    let mut masks = vec![];
    for units in hidden {
        let (from, to) = (Tensor::from_slice(&seen), Tensor::from_slice(units).unsqueeze(1));
        masks.push(from.le_tensor(&to).to_kind(Kind::Double));
        seen.clone_from(units);
    }
    let (from, to) = (Tensor::from_slice(&seen), Tensor::from_slice(inputs).unsqueeze(1));
    masks.push(from.lt_tensor(&to).to_kind(Kind::Double).repeat([parameters, 1]));
    masks
}
