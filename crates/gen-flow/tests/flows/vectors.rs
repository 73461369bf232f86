//! Numbers from other libraries: `tests/vectors/flow.json` has where each comes from.

use gen_core::data::Values;
use gen_core::params::Params;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_flow::base::{Base, StandardNormal};
use gen_flow::bijection::{ActNorm, Bijection, Chain, Conv1x1, Coupling, Layer, Logit, Mask, Squeeze};
use gen_flow::conditioner::{Degrees, MlpConditioner};
use gen_flow::dequantise::{Dequantiser, Interval};
use gen_flow::gen_core::native::{Ends, Knots, Spline};
use gen_flow::univariate::{Affine, RationalQuadratic, Univariate};
use gen_flow::{Flow, Given};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-10;

/// The precisions, and how near the numbers each comes.
const PRECISIONS: [(Kind, f64); 2] = [(Kind::Double, TOLERANCE), (Kind::Float, 1e-6)];

fn vectors(block: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../vectors/flow.json")).expect("JSON");
    all[block].clone()
}

/// A nested list as a tensor of doubles.
fn tensor(value: &Value) -> Tensor {
    fn flatten(value: &Value, flat: &mut Vec<f64>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| flatten(item, flat)),
            number => flat.push(number.as_f64().expect("a number")),
        }
    }
    let (mut shape, mut inner) = (Vec::new(), value);
    while let Value::Array(items) = inner {
        shape.push(items.len() as i64);
        inner = &items[0];
    }
    let mut flat = Vec::new();
    flatten(value, &mut flat);
    Tensor::from_slice(&flat).view(shape.as_slice())
}

fn set(params: &Params, name: &str, value: &Tensor) {
    let _no_grad = tch::no_grad_guard();
    let all = params.all();
    let place = all.get(name).unwrap_or_else(|| panic!("no parameter `{name}`"));
    place.shallow_clone().copy_(&value.view(place.size().as_slice()));
}

#[test]
fn affine_maps() {
    let v = vectors("affine_scalar");
    for (kind, tolerance) in PRECISIONS {
        let row = |value: &Value| tensor(value).unsqueeze(0).to_kind(kind);
        let (x, raw, shift) = (row(&v["x"]), row(&v["raw_scale"]), row(&v["shift"]));
        let check = |affine: Affine, raw: &Tensor, shift: &Tensor, expected: &Value| {
            let parameters = Tensor::cat(&[raw, shift], 1);
            let (y, log_slope) = affine.forward(&x, &parameters);
            assert_close(&y, &tensor(&expected["y"]).unsqueeze(0), tolerance, tolerance);
            assert_close(&log_slope, &tensor(&expected["logdet"]).unsqueeze(0), tolerance, tolerance);
            let (back, log_slope) = affine.inverse(&y, &parameters);
            assert_close(&back, &x, tolerance, tolerance);
            assert_close(&-log_slope, &tensor(&expected["logdet"]).unsqueeze(0), tolerance, tolerance);
        };
        check(Affine::unbounded(), &raw, &shift, &v["realnvp_exp"]);
        check(Affine::soft_clip(1e3f64.ln()), &raw, &shift, &v["zuko_softclip_exp"]);
        check(Affine::sigmoid(2.0, 1e-3), &raw, &shift, &v["nflows_sigmoid"]);
        check(Affine::softplus(1e-3), &raw, &shift, &v["nflows_maf_softplus"]);
        // Glow shifts before it scales.
        let scale = (&raw + 2.0).sigmoid();
        check(Affine::sigmoid(2.0, 0.0), &raw, &(&shift * scale), &v["glow"]);

        let params = Params::new(kind, Device::Cpu);
        let bounded = Affine::bounded(params.root());
        set(&params, "log_scale_bound", &Tensor::from_slice(&[2.0]));
        check(bounded, &(&raw * 0.05), &(&shift * 0.1), &v["tanh_clamp_freia"]);
    }
}

/// One spline through all the points of `block`, whose raw numbers have these names, in both precisions.
fn spline(block: &str, raw: [&str; 3], bound: f64, knots: Knots) {
    let v = vectors(block);
    let spline = RationalQuadratic::of(Spline { bins: 8, low: -bound, high: bound, knots, ends: Ends::Unit });
    let raw = Tensor::cat(&raw.map(|name| tensor(&v[name])), 0);
    let rows = |name: &str| tensor(&v[name]).unsqueeze(1);
    let (x, y) = (rows("x"), rows("y"));
    let parameters = raw.unsqueeze(0).expand([x.size()[0], -1], false);
    let (found, log_slope) = spline.forward(&x, &parameters);
    assert_close(&found, &y, TOLERANCE, TOLERANCE);
    assert_close(&log_slope, &rows("logdet"), TOLERANCE, TOLERANCE);
    let (back, log_slope) = spline.inverse(&y, &parameters);
    assert_close(&back, &rows("inverse_of_y"), TOLERANCE, TOLERANCE);
    assert_close(&-log_slope, &rows("logdet"), TOLERANCE, TOLERANCE);

    // In single precision the numbers of the file are rounded before a spline sees them. Where a bin is steep that
    // alone is 5e-6 in the log of the slope, so there the reference is what double precision makes of the rounded
    // ones.
    let single = |x: &Tensor| x.to_kind(Kind::Float);
    let close = |actual: &Tensor, expected: &Tensor| assert_close(&actual.to_kind(Kind::Double), expected, 1e-6, 1e-6);
    let rounded = single(&parameters).to_kind(Kind::Double);
    let (found, log_slope) = spline.forward(&single(&x), &single(&parameters));
    close(&found, &y);
    close(&log_slope, &spline.forward(&single(&x).to_kind(Kind::Double), &rounded).1);
    let (back, log_slope) = spline.inverse(&single(&y), &single(&parameters));
    let (expected, expected_log_slope) = spline.inverse(&single(&y).to_kind(Kind::Double), &rounded);
    close(&back, &expected);
    close(&log_slope, &expected_log_slope);
}

#[test]
fn rational_quadratic_splines_of_nflows_and_zuko() {
    let floor = Knots::Floor { width: 1e-3, height: 1e-3, slope: 1e-3 };
    let raw = ["unnormalized_widths", "unnormalized_heights", "unnormalized_derivatives"];
    spline("rqs_nflows", raw, 3.0, floor);
    spline("rqs_zuko", ["widths", "heights", "derivatives"], 5.0, Knots::SoftClip { slope: 1e-3 });
}

#[test]
fn masks_of_made() {
    let v = vectors("made_masks");
    let degrees = Degrees::new(vec![1, 2, 3, 4], &[6, 6], false);
    let masks = degrees.masks(0, 2);
    // There the two parameters of a value come one after the other.
    let by_value = |mask: &Tensor| {
        let units = mask.size()[1];
        mask.view([2, 4, units]).transpose(0, 1).reshape([8, units])
    };
    assert_eq!(masks[0], tensor(&v["initial"]));
    assert_eq!(masks[1], tensor(&v["hidden"]));
    assert_eq!(by_value(&masks[2]), tensor(&v["final"]));
    let connected = by_value(&masks[2]).matmul(&masks[1]).matmul(&masks[0]).gt(0.0).to_kind(Kind::Double);
    assert_eq!(connected, tensor(&v["connectivity"]));
    assert_eq!(connected, tensor(&v["zuko_final_connectivity"]));
}

#[test]
fn actnorm_starts_from_the_first_batch() {
    let v = vectors("actnorm");
    for (kind, tolerance) in PRECISIONS {
        let x = tensor(&v["x"]).to_kind(kind);
        let expected = &v["nflows_unbiased"];
        let params = Params::new(kind, Device::Cpu);
        let actnorm = ActNorm::new(params.root(), 3);
        assert!(!actnorm.is_initialised());
        let y = actnorm.initialise(&x, Given::NOTHING);
        assert!(actnorm.is_initialised());
        assert_close(&y, &tensor(&expected["y"]), tolerance, tolerance);
        let all = params.all();
        for name in ["log_scale", "shift"] {
            assert_close(all.get(name).unwrap(), &tensor(&expected[name]), tolerance, tolerance);
        }
        let (_, log_det) = actnorm.forward(&x, Given::NOTHING);
        assert_close(&log_det, &tensor(&expected["logdet"]), tolerance, tolerance);
    }
}

#[test]
fn lu_convolution() {
    let v = vectors("conv1x1_lu");
    for (kind, tolerance) in PRECISIONS {
        let params = Params::new(kind, Device::Cpu);
        let conv = Conv1x1::new(params.root(), 4);
        let names =
            [("permutation", "P"), ("lower", "L_raw"), ("upper", "U_raw"), ("log_scale", "log_s"), ("sign", "sign_s")];
        for (ours, theirs) in names {
            set(&params, ours, &tensor(&v[theirs]));
        }
        let x = tensor(&v["x"]).to_kind(kind);
        let (y, log_det) = conv.forward(&x, Given::NOTHING);
        assert_close(&y, &tensor(&v["y"]), tolerance, tolerance);
        let expected = log_det.full_like(v["logdet_per_sample"].as_f64().unwrap());
        // The block's number is log|det W|; an image of 2 x 3 positions has six of them.
        let positions = (x.size()[2] * x.size()[3]) as f64;
        let per_position = tensor(&v["log_s"]).sum(Kind::Double).double_value(&[]);
        assert_close_f64(expected.double_value(&[0]), per_position * positions, 1e-12, 0.0);
        assert_close(&log_det, &expected, tolerance, tolerance);
        let identity = Tensor::eye(4, (kind, Device::Cpu));
        assert_close(&conv.forward(&identity, Given::NOTHING).0.tr(), &tensor(&v["W"]), tolerance, tolerance);
        assert_close(&conv.inverse(&identity, Given::NOTHING).0.tr(), &tensor(&v["W_inv"]), tolerance, tolerance);
    }
}

#[test]
fn squeeze_order() {
    let v = vectors("squeeze2x2");
    let (y, log_det) = Squeeze.forward(&tensor(&v["x"]), Given::NOTHING);
    assert_close(&y, &tensor(&v["y"]), 0.0, 0.0);
    assert_eq!(log_det.double_value(&[0]), 0.0);
}

#[test]
fn logit_preprocessing() {
    let v = vectors("logit_preprocess");
    for (kind, tolerance) in PRECISIONS {
        let x = tensor(&v["x"]).unsqueeze(1).to_kind(kind);
        for (alpha, key) in [(1e-6, "alpha_1e-06"), (0.05, "alpha_0.05")] {
            let (y, log_det) = Logit::new(alpha).forward(&x, Given::NOTHING);
            assert_close(&y.squeeze_dim(1), &tensor(&v[key]["y"]), tolerance, tolerance);
            assert_close(&log_det, &tensor(&v[key]["logdet"]), tolerance, tolerance);
        }
    }
}

#[test]
fn bits_per_dimension_of_bytes() {
    let v = vectors("bits_per_dim");
    let cases = v["cases"].as_array().unwrap();
    let bytes: Vec<&Value> = cases.iter().filter(|case| case["n_bins"] == 256).collect();
    assert_eq!(bytes.len(), 3);
    let dequantiser = Dequantiser::uniform(Values::Bytes, Interval::Unit).expect("grey levels");
    for case in bytes {
        let dimensions = case["D"].as_i64().unwrap();
        let log_volume = dequantiser.log_volume(dimensions).expect("a likelihood");
        let log_likelihood = case["logp_cont"].as_f64().unwrap() + log_volume;
        let bits = Values::Bytes.bits_per_dim(log_likelihood, dimensions);
        assert_close_f64(bits, case["bpd"].as_f64().unwrap(), 1e-12, 0.0);
    }
    let normal = StandardNormal::new(784, Kind::Double, Device::Cpu);
    let log_prob = normal.log_prob(&Tensor::zeros([1, 784], (Kind::Double, Device::Cpu)), Given::NOTHING);
    let expected = v["standard_normal_D784_on_zeros"]["logp"].as_f64().unwrap();
    assert_close_f64(log_prob.double_value(&[0]), expected, 1e-12, 0.0);
}

#[test]
fn three_couplings_end_to_end() {
    let v = vectors("coupling_affine_2d");
    for (kind, tolerance) in PRECISIONS {
        let params = Params::new(kind, Device::Cpu);
        let mut parts: Vec<Box<dyn Layer>> = Vec::new();
        for (i, layer) in v["layers"].as_array().unwrap().iter().enumerate() {
            let place = &params.root() / i;
            let mask = Mask::alternating(2, i);
            let net = MlpConditioner::new(&place / "net", 1, 0, &[4], 2);
            parts.push(Box::new(Coupling::new(mask, Affine::bounded(place), Box::new(net))));
            set(&params, &format!("{i}.log_scale_bound"), &Tensor::from_slice(&[2.0]));
            let names = [("0.weight", "W1"), ("0.bias", "b1"), ("1.weight", "W2"), ("1.bias", "b2")];
            for (ours, theirs) in names {
                set(&params, &format!("{i}.net.{ours}"), &tensor(&layer[theirs]));
            }
        }
        let flow = Flow::new(Chain::new(parts), StandardNormal::new(2, kind, Device::Cpu));
        let x = tensor(&v["x"]).to_kind(kind);
        let (z, log_det) = flow.bijection().forward(&x, Given::NOTHING);
        assert_close(&z, &tensor(&v["z"]), tolerance, tolerance);
        assert_close(&log_det, &tensor(&v["logdet"]), tolerance, tolerance);
        assert_close(&flow.log_prob(&x, Given::NOTHING), &tensor(&v["log_prob"]), tolerance, tolerance);
        assert_close(&flow.bijection().inverse(&z, Given::NOTHING).0, &x, tolerance, tolerance);
    }
}
