//! Masked networks and inverses of autoregressive maps, beside the same by libtorch's operations.

use crate::shared::{DOUBLE, assert_close, check, layouts, reference};
use gen_native::{
    Coupled, Degrees, Ends, Instructions, Knots, Order, Spline, Univariate, Way, affine_coupling,
    autoregressive_inverse, masked_perceptron, spline_coupling, use_instructions,
};
use tch::{Device, Kind, Tensor};

fn random(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, DOUBLE)
}

#[test]
fn masked_perceptrons_are_their_layers() {
    tch::manual_seed(1);
    for sizes in [&[3, 5][..], &[2, 8, 6], &[4, 7, 70, 3], &[2, 64, 64, 46]] {
        for x in layouts(&random(&[37, sizes[0]])) {
            let (mut inputs, mut masks) = (vec![x], vec![]);
            for pair in sizes.windows(2) {
                inputs.extend([random(&[pair[1], pair[0]]) * 0.3, random(&[pair[1]])]);
                masks.push(random(&[pair[1], pair[0]]).gt(0.0).to_kind(Kind::Double));
            }
            let ours = |x: &[Tensor]| {
                let layers: Vec<_> = x[1..].iter().collect();
                vec![masked_perceptron(&x[0], &layers, &masks.iter().collect::<Vec<_>>()).unwrap()]
            };
            check(&ours, &|x| vec![reference::layers(&x[0], &x[1..], &masks)], &inputs);
        }
    }
    let [x, weight, bias] = [random(&[2, 3]), random(&[5, 3]), random(&[5])];
    assert!(masked_perceptron(&x, &[&weight, &bias], &[]).is_err());
    assert!(masked_perceptron(&x, &[&weight, &bias], &[&weight.tr()]).is_err());
}

/// A network and its degrees.
struct Network {
    layers: Vec<Tensor>,
    inputs: Vec<i64>,
    hidden: Vec<Vec<i64>>,
    features: i64,
}

impl Network {
    /// Unordered degrees, from the permuted remainders of a counter.
    fn new(values: i64, features: i64, widths: &[i64], parameters: i64) -> Self {
        let permutation =
            |n: i64| -> Vec<i64> { Tensor::randperm(n, (Kind::Int64, Device::Cpu)).iter::<i64>().unwrap().collect() };
        let inputs: Vec<i64> = permutation(values).iter().map(|i| i + 1).collect();
        let hidden: Vec<Vec<i64>> =
            widths.iter().map(|&n| permutation(n).iter().map(|i| i % values).collect()).collect();
        let mut sizes = vec![features + values];
        sizes.extend(widths);
        sizes.push(values * parameters);
        let layers = sizes
            .windows(2)
            .flat_map(|pair| [random(&[pair[1], pair[0]]) / (pair[0] as f64).sqrt() * 0.6, random(&[pair[1]]) * 0.5])
            .collect();
        Network { layers, inputs, hidden, features }
    }

    fn degrees(&self) -> Degrees<'_> {
        Degrees { inputs: &self.inputs, hidden: &self.hidden }
    }

    fn masks(&self, parameters: i64) -> Vec<Tensor> {
        let mut seen = vec![0; self.features as usize];
        seen.extend(&self.inputs);
        let mut masks = vec![];
        for units in &self.hidden {
            let (from, to) = (Tensor::from_slice(&seen), Tensor::from_slice(units).unsqueeze(1));
            masks.push(from.le_tensor(&to).to_kind(Kind::Double));
            seen.clone_from(units);
        }
        let (from, to) = (Tensor::from_slice(&seen), Tensor::from_slice(&self.inputs).unsqueeze(1));
        masks.push(from.lt_tensor(&to).to_kind(Kind::Double).repeat([parameters, 1]));
        masks
    }

    /// As many passes as there are values, all of them in each.
    fn inverse(&self, y: &Tensor, context: Option<&Tensor>, of: Univariate<'_>) -> [Tensor; 2] {
        let masks = self.masks(parameters(of));
        let mut x = y.zeros_like();
        let mut log_det = Tensor::new();
        for _ in 0..self.inputs.len() {
            let all: Vec<&Tensor> = context.into_iter().chain([&x]).collect();
            let numbers = reference::layers(&Tensor::cat(&all, 1), &self.layers, &masks);
            let back = match of {
                Univariate::Affine { bound } => {
                    affine_coupling(None, y, &numbers, bound, Order::SameFirst, Way::Inverse)
                }
                Univariate::Spline(spline) => {
                    spline_coupling(None, y, &numbers, spline, Order::SameFirst, Way::Inverse)
                }
            };
            Coupled { values: x, log_det } = back.unwrap();
        }
        [x, log_det]
    }
}

fn parameters(of: Univariate<'_>) -> i64 {
    match of {
        Univariate::Affine { .. } => 2,
        Univariate::Spline(spline) => spline.parameters(),
    }
}

#[test]
fn inverses_are_those_of_as_many_passes() {
    tch::manual_seed(2);
    let soft = Spline { bins: 5, low: -3.0, high: 3.0, knots: Knots::SoftClip { slope: 1e-3 }, ends: Ends::Unit };
    let floor = Spline { knots: Knots::Floor { width: 1e-3, height: 1e-3, slope: 1e-3 }, ends: Ends::Free, ..soft };
    let bound = Tensor::from_slice(&[0.8]);
    for values in 1..=6 {
        let networks: [(i64, &[i64]); 4] = [(0, &[13, 9]), (3, &[16]), (0, &[]), (1, &[7, 20, 8])];
        for (i, (features, widths)) in networks.into_iter().enumerate() {
            let rows = [1, 37, 64, 131][(i + values as usize) % 4];
            for of in [
                Univariate::Affine { bound: None },
                Univariate::Affine { bound: Some(&bound) },
                Univariate::Spline(&soft),
                Univariate::Spline(&floor),
            ] {
                let network = Network::new(values, features, widths, parameters(of));
                let y = random(&[rows, values]);
                let y = if i % 2 == 0 { y } else { y.tr().contiguous().tr() };
                let context = (features > 0).then(|| random(&[rows, features]));
                let expected = network.inverse(&y, context.as_ref(), of);
                for which in [
                    Instructions::Avx512,
                    Instructions::Avx2,
                    Instructions::Portable,
                    Instructions::Libtorch,
                    Instructions::Best,
                ] {
                    if !use_instructions(which).unwrap() {
                        continue;
                    }
                    let run = |kind: Kind| {
                        let layers: Vec<_> = network.layers.iter().map(|x| x.to_kind(kind)).collect();
                        let bound = bound.to_kind(kind);
                        let of = match of {
                            Univariate::Affine { bound: Some(_) } => Univariate::Affine { bound: Some(&bound) },
                            of => of,
                        };
                        let found = autoregressive_inverse(
                            &y.to_kind(kind),
                            context.as_ref().map(|x| x.to_kind(kind)).as_ref(),
                            &layers.iter().collect::<Vec<_>>(),
                            network.degrees(),
                            of,
                        )
                        .unwrap();
                        found.map(|Coupled { values, log_det }| [values, log_det])
                    };
                    let [Some(double), Some([values, log_det])] = [Kind::Double, Kind::Float].map(run) else {
                        // With libtorch's operations alone it is left to the caller.
                        assert!(matches!(which, Instructions::Libtorch | Instructions::Best));
                        continue;
                    };
                    assert_close(&double, &expected, 1e-10);
                    // Errors of a value grow with those that follow it.
                    assert!(values.isfinite().all().int64_value(&[]) == 1);
                    assert_eq!(log_det.kind(), Kind::Float);
                }
            }
        }
    }
}

#[test]
fn inverses_have_no_gradient() {
    let network = Network::new(2, 0, &[4], 2);
    let layers: Vec<_> = network.layers.iter().map(|x| x.set_requires_grad(true)).collect();
    let found = autoregressive_inverse(
        &random(&[3, 2]),
        None,
        &layers.iter().collect::<Vec<_>>(),
        network.degrees(),
        Univariate::Affine { bound: None },
    );
    assert!(found.unwrap().is_none_or(|found| !found.values.requires_grad()));
}

#[test]
fn wrong_shapes_are_refused() {
    let network = Network::new(3, 0, &[4], 2);
    let layers: Vec<_> = network.layers.iter().collect();
    let run = |y: &Tensor, layers: &[&Tensor], inputs: &[i64], hidden: &[Vec<i64>]| {
        let degrees = Degrees { inputs, hidden };
        autoregressive_inverse(y, None, layers, degrees, Univariate::Affine { bound: None }).map(|_| ())
    };
    let y = random(&[2, 3]);
    let (inputs, hidden) = (&network.inputs[..], &network.hidden[..]);
    assert!(run(&y, &layers, inputs, hidden).is_ok());
    assert!(run(&random(&[2, 2]), &layers, inputs, hidden).is_err());
    assert!(run(&y, &layers, &[1, 2, 2], hidden).is_err());
    assert!(run(&y, &layers, &[0, 1, 2], hidden).is_err());
    assert!(run(&y, &layers, inputs, &[vec![0, 1, 3, 0]]).is_err());
    assert!(run(&y, &layers, inputs, &[vec![0, 1, 2]]).is_err());
    assert!(run(&y, &layers[..2], inputs, hidden).is_err());
    assert!(run(&random(&[0, 3]), &layers, inputs, hidden).is_ok());
}
