//! Convolutions and normalisations of feature maps.

use gen_native::{
    Activation, Direction, Operands, Statistics, as_convolved, batch_innermost, batch_norm, conv_stack, conv2d,
    group_norm, is_batch_innermost,
};
use tch::{Kind, TchError, Tensor};

use crate::case::{Case, Reference, Values, fixed, learned, written};
use crate::draw::Draw;

pub(crate) fn conv2d_of(draw: &mut Draw) -> Case {
    convolution(draw, Operands::Exact)
}

/// Numbers of the grid are exact in bfloat16.
pub(crate) fn rounded_conv2d(draw: &mut Draw) -> Case {
    convolution(draw, Operands::Rounded)
}

fn convolution(draw: &mut Draw, operands: Operands) -> Case {
    let direction = draw.pick(&[Direction::Down, Direction::Up]);
    let (stride, padding) = (draw.from(1..=3), draw.from(0..=2));
    let many = draw.chance(25);
    let most = if many { 20 } else { 5 };
    let (inputs, outputs) = (draw.few(most), draw.few(most));
    let side = if many { 4 } else { 7 };
    let shape = [draw.rows(), inputs, draw.few(side), draw.few(side)];
    let kernel = [draw.few(4), draw.few(4)];
    let channels = if direction == Direction::Down { [outputs, inputs] } else { [inputs, outputs] };
    let mut tensors = vec![
        learned(draw, "x", &shape, Values::Grid),
        learned(draw, "weight", &[channels[0], channels[1], kernel[0], kernel[1]], Values::Grid),
    ];
    if draw.chance(60) {
        tensors.push(learned(draw, "bias", &[outputs], Values::Grid));
    }
    let ours = move |x: &[Tensor]| Ok(vec![conv2d(&x[0], &x[1], x.get(2), stride, padding, direction, operands)?]);
    let theirs = move |x: &[Tensor]| {
        // libtorch returns a result without channels.
        assert!(x[1].size()[usize::from(direction == Direction::Down)] > 0);
        vec![match direction {
            Direction::Down => x[0].conv2d(&x[1], x.get(2), stride, padding, 1, 1),
            Direction::Up => x[0].conv_transpose2d(&x[1], x.get(2), stride, padding, 0, 1, 1),
        }]
    };
    Case::new(format!("{direction:?}, stride {stride}, padding {padding}, {operands:?}"), tensors, ours, theirs)
}

pub(crate) fn conv_stack_of(draw: &mut Draw) -> Case {
    stack(draw, Operands::Exact)
}

/// Hidden maps are rounded, so results have only the precision of bfloat16.
pub(crate) fn rounded_conv_stack(draw: &mut Draw) -> Case {
    let case = stack(draw, Operands::Rounded);
    Case { precision: 1.0 / 256.0, ..case }.tolerances([0.05, 1e-11], [0.1, 1e-9])
}

fn stack(draw: &mut Draw, operands: Operands) -> Case {
    let depth = draw.from(1..=3);
    let many = draw.chance(20);
    let mut channels = draw.few(4);
    let mut tensors = vec![learned(draw, "x", &[0; 4], Values::Grid)];
    let shape = [draw.rows(), channels, draw.few(5), draw.few(5)];
    tensors[0] = learned(draw, "x", &shape, Values::Grid);
    for layer in 0..depth {
        let side = draw.pick(&[1, 3, 3, 5]);
        let outputs = draw.few(if many { 18 } else { 5 });
        tensors.push(learned(draw, &format!("weight {layer}"), &[outputs, channels, side, side], Values::Grid));
        tensors.push(learned(draw, &format!("bias {layer}"), &[outputs], Values::Grid));
        channels = outputs;
    }
    let ours = move |x: &[Tensor]| {
        let layers: Vec<&Tensor> = x[1..].iter().collect();
        Ok(vec![conv_stack(&x[0], &layers, operands)?])
    };
    let theirs = |x: &[Tensor]| {
        let layers = x[1..].chunks(2).enumerate();
        vec![layers.fold(x[0].shallow_clone(), |h, (i, layer)| {
            let h = if i > 0 { h.relu() } else { h };
            assert!(layer[0].size()[1] > 0);
            h.conv2d(&layer[0], Some(&layer[1]), 1, layer[0].size()[2] / 2, 1, 1)
        })]
    };
    Case::new(format!("{depth} layers, {operands:?}"), tensors, ours, theirs)
}

const ACTIVATIONS: [Activation; 4] = [Activation::None, Activation::Relu, Activation::LeakyRelu, Activation::Silu];

fn activated(z: &Tensor, activation: Activation) -> Tensor {
    match activation {
        Activation::None => z.shallow_clone(),
        Activation::Relu => z.relu(),
        Activation::LeakyRelu => z.where_self(&z.gt(0.0), &(z * 0.2)),
        Activation::Silu => z.silu(),
    }
}

/// The precision of means and variances of values; the root of a small variance makes errors larger.
const SUMMED: f64 = 8.0 * f32::EPSILON as f64;

/// The factor by which normalising multiplies the rounding error of a value: the largest 1 / sqrt(variance + 1e-5) of
/// the rows, which is 316 if a row has one value, or equal ones.
fn amplification(rows: &Tensor) -> f64 {
    if rows.numel() == 0 {
        return 1.0;
    }
    let variances = rows.var_dim([1i64].as_slice(), false, false);
    (variances.min().double_value(&[]) + 1e-5).powf(-0.5)
}

/// Mostly feature maps, and other tensors with channels.
fn map(draw: &mut Draw, channels: i64) -> Vec<i64> {
    let mut shape = vec![draw.rows(), channels];
    let pixels = draw.pick(&[2, 2, 2, 2, 2, 2, 0, 1, 3]);
    shape.extend((0..pixels).map(|_| draw.few(5)));
    shape
}

pub(crate) fn batch_norm_of(draw: &mut Draw) -> Case {
    let activation = draw.pick(&ACTIVATIONS);
    let channels = if draw.chance(10) { 40 } else { draw.few(6) };
    let shape = map(draw, channels);
    let which = draw.from(0..=2);
    let mut tensors = vec![
        learned(draw, "x", &shape, Values::Normal(1.0, 2.0)),
        learned(draw, "weight", &[channels], Values::Normal(1.0, 0.5)),
        learned(draw, "bias", &[channels], Values::Normal(0.0, 1.0)),
    ];
    if which > 0 {
        let role = if which == 1 { written } else { fixed };
        tensors.push(role(draw, "mean", &[channels], Values::Normal(0.0, 1.0)));
        tensors.push(role(draw, "var", &[channels], Values::Positive));
    }
    let ours = move |x: &[Tensor]| {
        let statistics = match which {
            0 => Statistics::Batch,
            1 => Statistics::BatchMoving { mean: &x[3], var: &x[4] },
            _ => Statistics::Running { mean: &x[3], var: &x[4] },
        };
        let mut results = vec![batch_norm(&x[0], &x[1], &x[2], statistics, activation)?];
        results.extend(x[3..].iter().map(Tensor::detach));
        Ok(results)
    };
    let theirs = move |x: &[Tensor]| {
        assert!(x[3..].iter().all(|x| !x.requires_grad()), "statistics have no gradient");
        let z = x[0].batch_norm(Some(&x[1]), Some(&x[2]), x.get(3), x.get(4), which < 2, 0.1, 1e-5, false);
        let mut results = vec![activated(&z, activation)];
        results.extend(x[3..].iter().map(Tensor::detach));
        results
    };
    let written_out = move |x: &[Tensor]| {
        let mut shape = vec![1; x[0].dim()];
        shape[1] = -1;
        let others: Vec<i64> = (0..x[0].dim() as i64).filter(|&d| d != 1).collect();
        let centred = match which {
            2 => &x[0] - x[3].reshape(&shape[..]),
            _ => &x[0] - x[0].mean_dim(&others[..], true, x[0].kind()),
        };
        let variance = match which {
            2 => x[4].reshape(&shape[..]),
            _ => centred.square().mean_dim(&others[..], true, x[0].kind()),
        };
        let z = centred / (variance + 1e-5).sqrt() * x[1].reshape(&shape[..]) + x[2].reshape(&shape[..]);
        let mut results = vec![activated(&z, activation)];
        results.extend(theirs(x).into_iter().skip(1));
        results
    };
    let statistics = ["those of the batch", "the batch's, which others follow", "given ones"][which as usize];
    let case = Case::new(format!("{activation:?}, statistics: {statistics}"), tensors, ours, theirs);
    let of_channels = |x: &[Tensor]| amplification(&x[0].transpose(0, 1).flatten(1, -1));
    let of_tangents: Option<Reference> = Some(Box::new(written_out));
    Case { amplification: Some(Box::new(of_channels)), precision: SUMMED, of_tangents, ..case }
        .tolerances([5e-5, 1e-10], [5e-4, 1e-8])
}

pub(crate) fn group_norm_of(draw: &mut Draw) -> Case {
    let activation = draw.pick(&ACTIVATIONS);
    let (groups, of_group) = (draw.pick(&[1, 1, 2, 3, 4]), draw.few(4));
    let channels = groups * of_group;
    let shape = map(draw, channels);
    let mut tensors = vec![
        learned(draw, "x", &shape, Values::Normal(1.0, 2.0)),
        learned(draw, "weight", &[channels], Values::Normal(1.0, 0.5)),
        learned(draw, "bias", &[channels], Values::Normal(0.0, 1.0)),
    ];
    if draw.chance(50) {
        tensors.push(learned(draw, "modulation", &[shape[0], 2 * channels], Values::Normal(0.0, 0.7)));
    }
    let ours = move |x: &[Tensor]| Ok(vec![group_norm(&x[0], groups, &x[1], &x[2], x.get(3), activation)?]);
    let theirs = move |x: &[Tensor]| {
        let mut z = match x[0].numel() {
            // libtorch's gradients of gradients are NaN then.
            0 => &x[0] * 1.0,
            _ => x[0].group_norm(groups, Some(&x[1]), Some(&x[2]), 1e-5, false),
        };
        if let Some(modulation) = x.get(3) {
            let mut shape = vec![1; z.dim()];
            shape[..2].copy_from_slice(&z.size()[..2]);
            let parts = modulation.split_with_sizes([shape[1], shape[1]], 1);
            z = z * (parts[0].reshape(&shape[..]) + 1.0) + parts[1].reshape(&shape[..]);
        }
        vec![activated(&z, activation)]
    };
    let case = Case::new(format!("{groups} groups, {activation:?}"), tensors, ours, theirs);
    let of_groups = move |x: &[Tensor]| match x[0].numel() {
        0 => 1.0,
        _ => amplification(&x[0].reshape([x[0].size()[0] * groups, -1])),
    };
    Case { amplification: Some(Box::new(of_groups)), precision: SUMMED, ..case }.tolerances([1e-4, 1e-10], [1e-3, 1e-8])
}

pub(crate) fn batch_innermost_of(draw: &mut Draw) -> Case {
    let shape = [draw.rows(), draw.few(6), draw.few(6), draw.few(6)];
    let tensors = vec![learned(draw, "x", &shape, Values::Grid)];
    let ours = |x: &[Tensor]| {
        // The layout of complex numbers changes too; only libtorch can check them.
        if x[0].defined() && x[0].kind() == Kind::ComplexFloat {
            return Err(TchError::Torch("complex numbers".to_owned()));
        }
        let y = batch_innermost(&x[0])?;
        if y.numel() > 0 && !is_batch_innermost(&y) {
            return Err(TchError::Torch(format!("strides {:?}", y.stride())));
        }
        Ok(vec![y])
    };
    Case::new(String::new(), tensors, ours, |x| vec![x[0].shallow_clone()])
}

pub(crate) fn as_convolved_of(draw: &mut Draw) -> Case {
    let channels = draw.few(6);
    let shape = map(draw, channels);
    let tensors = vec![learned(draw, "x", &shape, Values::Grid)];
    let ours = |x: &[Tensor]| {
        // Other tensors are returned unchanged.
        if !x[0].defined() || x[0].is_sparse() || x[0].kind() == Kind::ComplexFloat {
            return Err(TchError::Torch("no feature map".to_owned()));
        }
        Ok(vec![as_convolved(&x[0])])
    };
    Case::new(String::new(), tensors, ours, |x| vec![x[0].shallow_clone()])
}
