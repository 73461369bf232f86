//! Splines, beside those of other libraries and the same by libtorch's operations.

use crate::shared::{DOUBLE, check_by_differences, check_to, layouts, reference};
use gen_native::{
    Coupled, Ends, Generator, Instructions, Knots, Mapped, Order, Spline, Way, spline, spline_coupling,
    use_instructions,
};
use tch::{Device, Kind, Tensor};

const FLOOR: Knots = Knots::Floor { width: 1e-3, height: 1e-3, slope: 1e-3 };
const SOFT_CLIP: Knots = Knots::SoftClip { slope: 1e-3 };

/// Eight widths, eight heights and seven slopes, raw, of the points below.
const RAW: [f64; 23] = [
    0.5, -0.3, 0.8, -1.2, 0.1, 0.0, 1.5, -0.7, -0.4, 0.9, 0.2, 0.0, -1.1, 0.6, -0.2, 1.3, 0.3, -0.6, 1.1, 0.0, -1.5,
    0.8, 0.4,
];

/// x, y and ln dy/dx by nflows 0.14 on [-3, 3].
const NFLOWS: [[f64; 3]; 16] = [
    [-4.0, -4.0, 0.0],
    [-3.0, -3.0, 0.0],
    [-2.999999, -2.9999990000037657, -7.531983452047086e-06],
    [-2.5, -2.7991547727014248, -1.346399414371394],
    [-1.75, -1.4127211577781351, -0.9120352755205454],
    [-1.0, -1.104091886689329, -0.48606411106149683],
    [-0.3, -0.21759472253719853, -1.2784346170516327],
    [0.0, -0.15265559029932396, -1.6170958572427114],
    [0.2, 0.05416000178196484, 0.7545152907844355],
    [0.7, 0.8777807200853732, -1.0306600639911818],
    [1.3, 0.9682664067019588, -2.640399302281726],
    [2.0, 1.0100376078076725, -2.7235214720649],
    [2.6, 1.0919432774259645, -1.0997369328043747],
    [2.999, 2.9989681977012568, 0.06184333848753898],
    [3.0, 3.0, 0.0],
    [3.5, 3.5, 0.0],
];

/// The same by zuko 1.4 on [-5, 5].
const ZUKO: [[f64; 3]; 11] = [
    [-6.0, -6.0, 0.0],
    [-4.999, -4.999002540264454, -0.005086502746868757],
    [-3.2, -3.6341849035450116, 1.298175225819892],
    [-1.1, -1.6620799978515877, 0.08417875524136127],
    [-0.4, -0.2342583607190681, -0.11217491771162579],
    [0.0, -0.01919211757844419, -1.0937914502901016],
    [0.9, 0.32051363143272527, 0.10558550072263134],
    [2.3, 2.1214493659527713, -1.7865190436660865],
    [3.7, 2.25698232329768, -2.18382686937946],
    [4.999, 4.9989910650304346, 0.017730506862977512],
    [5.5, 5.5, 0.0],
];

fn all_instructions(test: impl Fn()) {
    use Instructions::{Avx2, Avx512, Best, Libtorch, Portable};
    for which in [Avx512, Avx2, Portable, Libtorch, Best] {
        if use_instructions(which).unwrap() {
            test();
        }
    }
}

fn largest(x: &Tensor) -> f64 {
    x.to_kind(Kind::Double).abs().max().double_value(&[])
}

#[track_caller]
fn assert_points(points: &[[f64; 3]], knots: Knots, bound: f64) {
    let spline_of = Spline { bins: 8, low: -bound, high: bound, knots, ends: Ends::Unit };
    let column = |i: usize| Tensor::from_slice(&points.iter().map(|p| p[i]).collect::<Vec<_>>()).unsqueeze(1);
    let [x, y, log] = [0, 1, 2].map(column);
    let raw = Tensor::from_slice(&RAW).expand([x.size()[0], -1], false);
    for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 1e-6)] {
        let run = |x: &Tensor, way: Way| {
            let Mapped { values, log_slope } = spline(&x.to_kind(kind), &raw.to_kind(kind), &spline_of, way).unwrap();
            [values, log_slope]
        };
        let [image, slope] = run(&x, Way::Forward);
        let [back, inverse_slope] = run(&y, Way::Inverse);
        // In single precision, rounding x changes y and the slope.
        let pairs = [(image, &y, bound), (slope, &log, 20.0), (back, &x, 3.0 * bound), (inverse_slope, &-&log, 40.0)];
        for (i, (found, expected, scale)) in pairs.iter().enumerate() {
            let error = largest(&(found - *expected));
            assert!(error < tolerance * scale, "{i}: {error}, {kind:?}");
        }
    }
}

#[test]
fn points_are_those_of_other_libraries() {
    all_instructions(|| {
        assert_points(&NFLOWS, FLOOR, 3.0);
        assert_points(&ZUKO, SOFT_CLIP, 5.0);
    });
}

fn splines() -> Vec<Spline> {
    let mut all = vec![];
    for (bins, low, high) in [(8, -3.0, 3.0), (3, -1.0, 2.5), (1, 0.0, 1.0)] {
        for knots in [SOFT_CLIP, Knots::Floor { width: 1e-3, height: 2e-3, slope: 0.01 }] {
            for ends in [Ends::Unit, Ends::Free] {
                all.push(Spline { bins, low, high, knots, ends });
            }
        }
    }
    all
}

#[test]
fn splines_are_what_they_are_made_of() {
    tch::manual_seed(1);
    let shapes: [(i64, i64, &[i64]); 3] = [(19, 2, &[]), (33, 1, &[2, 1]), (3, 3, &[])];
    for of in splines() {
        for (rows, channels, pixels) in shapes {
            let random = |channels: i64| {
                let mut size = vec![rows, channels];
                size.extend(pixels);
                Tensor::randn(&size[..], DOUBLE)
            };
            let same = random(2);
            let (x, parameters) = (random(channels) * 1.5, random(of.parameters() * channels));
            for (i, (x, parameters)) in layouts(&x).iter().zip(layouts(&parameters)).enumerate() {
                let inputs = [x.shallow_clone(), parameters, same.shallow_clone()];
                for way in [Way::Forward, Way::Inverse] {
                    let ours = |x: &[Tensor]| {
                        let Mapped { values, log_slope } = spline(&x[0], &x[1], &of, way).unwrap();
                        vec![values, log_slope]
                    };
                    let theirs = |x: &[Tensor]| reference::spline(&x[0], &x[1], &of, way).into();
                    check_to([1e-9, 1e-3, 1e-6], &ours, &theirs, &inputs[..2]);
                    if i > 0 {
                        continue;
                    }
                    let coupled = |x: &[Tensor]| {
                        let Coupled { values, log_det } =
                            spline_coupling(x.get(2), &x[0], &x[1], &of, Order::MovedFirst, way).unwrap();
                        vec![values, log_det]
                    };
                    let joined = |x: &[Tensor]| {
                        let [moved, log] = reference::spline(&x[0], &x[1], &of, way);
                        let parts: Vec<&Tensor> = [&moved].into_iter().chain(x.get(2)).collect();
                        vec![Tensor::cat(&parts, 1), log.flatten(1, -1).sum_dim_intlist(1, false, Kind::Double)]
                    };
                    check_to([1e-9, 1e-3, 1e-6], &coupled, &joined, &inputs);
                    check_to([1e-9, 1e-3, 1e-6], &coupled, &joined, &inputs[..2]);
                }
            }
        }
    }
}

#[test]
fn splines_have_the_gradients_of_their_differences() {
    tch::manual_seed(2);
    for of in splines() {
        let x = Tensor::randn([5, 2], DOUBLE) * 2.0;
        let inputs = [x, Tensor::randn([5, 2 * of.parameters()], DOUBLE)];
        for way in [Way::Forward, Way::Inverse] {
            let ours = |x: &[Tensor]| {
                let Mapped { values, log_slope } = spline(&x[0], &x[1], &of, way).unwrap();
                vec![values, log_slope]
            };
            check_by_differences(&ours, &inputs);
        }
    }
}

#[test]
fn extremes_stay_finite() {
    tch::manual_seed(3);
    let inside = Tensor::linspace(-3.0, 3.0, 61, DOUBLE);
    let far = Tensor::from_slice(&[1e20, -1e20, 1e4, -1e4, 3.0001, -3.0001, 1e-30, -0.0]);
    let x = Tensor::cat(&[inside, far], 0).unsqueeze(1);
    for knots in [SOFT_CLIP, FLOOR] {
        for ends in [Ends::Unit, Ends::Free] {
            let of = Spline { bins: 8, low: -3.0, high: 3.0, knots, ends };
            for scale in [0.0, 1.0, 30.0, 1e4] {
                let raw = Tensor::randn([x.size()[0], of.parameters()], DOUBLE).clamp(-1.0, 1.0) * scale;
                for kind in [Kind::Float, Kind::Double] {
                    all_instructions(|| {
                        for way in [Way::Forward, Way::Inverse] {
                            let leaf = |x: &Tensor| x.to_kind(kind).copy().set_requires_grad(true);
                            let inputs = [leaf(&x), leaf(&raw)];
                            let Mapped { values, log_slope } = spline(&inputs[0], &inputs[1], &of, way).unwrap();
                            let scores = [values.sum(kind), log_slope.sum(kind)];
                            let mut all = vec![values.detach(), log_slope.detach()];
                            for score in scores {
                                all.extend(Tensor::run_backward(&[score], &inputs, true, false));
                            }
                            for (i, result) in all.iter().enumerate() {
                                let finite = result.isfinite().all().int64_value(&[]) == 1;
                                assert!(finite, "result {i} of {of:?}, {way:?}, {kind:?}, raw up to {scale}");
                            }
                        }
                    });
                }
            }
        }
    }
}

#[test]
fn there_and_back_is_where_it_began() {
    let rng = Generator::seeded(4);
    // At the least slope, 0.001, half of the last digit of a value is an error of 1.2e-4 in the inverse.
    for (kind, knots, tolerance) in
        [(Kind::Float, SOFT_CLIP, 5e-4), (Kind::Double, SOFT_CLIP, 1e-9), (Kind::Double, FLOOR, 1e-9)]
    {
        for ends in [Ends::Unit, Ends::Free] {
            let of = Spline { bins: 8, low: -3.0, high: 3.0, knots, ends };
            let options = (kind, Device::Cpu);
            let x = rng.rand([200_000, 1], options) * 7.0 - 3.5;
            let raw = rng.randn([200_000, of.parameters()], options);
            all_instructions(|| {
                let there = spline(&x, &raw, &of, Way::Forward).unwrap();
                let back = spline(&there.values, &raw, &of, Way::Inverse).unwrap();
                let (error, logs) = (largest(&(&back.values - &x)), largest(&(there.log_slope + back.log_slope)));
                assert!(error < tolerance && logs < 1e3 * tolerance, "{error}, {logs}, {knots:?}, {kind:?}");
            });
        }
    }
}

/// Knots in half precision would be wrong by 0.001, the width of the narrowest bins.
#[test]
fn half_precision_rounds_no_knot() {
    let rng = Generator::seeded(5);
    for of in splines() {
        let parameters = rng.randn([1000, of.parameters()], (Kind::Float, Device::Cpu)) * 2.0;
        let x = rng.rand([1000, 1], (Kind::Float, Device::Cpu)) * (of.high - of.low) + of.low;
        for (kind, of_x) in [
            (Kind::Half, Kind::Float),
            (Kind::Half, Kind::Half),
            (Kind::BFloat16, Kind::BFloat16),
            (Kind::BFloat16, Kind::Half),
        ] {
            let (x, parameters) = (x.to_kind(of_x), parameters.to_kind(kind));
            for way in [Way::Forward, Way::Inverse] {
                let ours = spline(&x, &parameters, &of, way).unwrap();
                let expected = reference::spline(&x.to_kind(Kind::Double), &parameters.to_kind(Kind::Double), &of, way);
                let common = if kind == of_x { kind } else { Kind::Float };
                assert_eq!([ours.values.kind(), ours.log_slope.kind()], [common; 2]);
                let tolerance = match common {
                    Kind::BFloat16 => 5e-2,
                    _ => 2e-2,
                };
                for (ours, theirs) in [&ours.values, &ours.log_slope].into_iter().zip(&expected) {
                    let apart = largest(&(ours.to_kind(Kind::Double) - theirs));
                    assert!(apart < tolerance, "{of:?}, {way:?}, {kind:?}, {of_x:?}: {apart}");
                }
            }
        }
    }
}

#[test]
fn nothing_known_gives_nothing_known() {
    let of = Spline { bins: 4, low: -3.0, high: 3.0, knots: SOFT_CLIP, ends: Ends::Unit };
    let x = Tensor::from_slice(&[f64::NAN, 1.0]).unsqueeze(1);
    let Mapped { values, log_slope } = spline(&x, &Tensor::zeros([2, 11], DOUBLE), &of, Way::Forward).unwrap();
    for result in [values, log_slope] {
        assert!(result.double_value(&[0, 0]).is_nan() && result.double_value(&[1, 0]).is_finite());
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let good = Spline { bins: 8, low: -3.0, high: 3.0, knots: SOFT_CLIP, ends: Ends::Unit };
    let run = |of: Spline, parameters: i64| {
        let x = Tensor::zeros([4, 2], DOUBLE);
        spline(&x, &Tensor::zeros([4, parameters], DOUBLE), &of, Way::Forward).map(|_| ())
    };
    assert!(run(good, 46).is_ok());
    assert!(run(good, 45).is_err());
    let refused = [
        Spline { bins: 0, ..good },
        Spline { bins: Spline::MOST_BINS + 1, ..good },
        Spline { high: -3.0, ..good },
        Spline { knots: Knots::SoftClip { slope: 0.0 }, ..good },
        Spline { knots: Knots::SoftClip { slope: 1.0 }, ..good },
        Spline { knots: Knots::Floor { width: 0.2, height: 1e-3, slope: 1e-3 }, ..good },
        Spline { knots: Knots::Floor { width: 1e-3, height: 0.0, slope: 1e-3 }, ..good },
    ];
    for of in refused {
        assert!(run(of, 2 * of.parameters().max(0)).is_err(), "{of:?}");
    }
    let none = spline(&Tensor::zeros([0, 2], DOUBLE), &Tensor::zeros([0, 46], DOUBLE), &good, Way::Forward);
    assert_eq!(none.unwrap().values.size(), [0, 2]);
}
