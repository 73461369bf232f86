//! Metrics against reference numbers, and their invariants.
//!
//! The numbers come from numpy, scipy, torch-fidelity 0.4.0 and prdc 0.2; the sets are formulas in row and column.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use gen_core::eval::{
    Estimator, frechet_distance, kernel_distance, kernel_distance_standard_error, median_distance,
    mmd_squared, neighbour_radii, polynomial_kernel, prdc, rbf_kernel,
};
use gen_core::rng::{Purpose, derive, permutation};
use gen_core::testing::assert_close_f64;
use proptest::prelude::*;
use serde_json::Value;
use tch::{Kind, Tensor};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/metrics.json")).unwrap()
}

/// The number at a `/`-separated path.
fn number(vectors: &Value, path: &str) -> f64 {
    let value = vectors.pointer(path).unwrap_or_else(|| panic!("no {path}"));
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap()
}

#[track_caller]
fn check(vectors: &Value, path: &str, actual: f64) {
    // The file has 12 digits.
    let expected = number(vectors, path);
    println!("{path}");
    assert_close_f64(actual, expected, 1e-9, 1e-12);
}

fn matrix(n: i64, d: i64, f: impl Fn(f64, f64) -> f64) -> Tensor {
    let values: Vec<f64> = (0..n * d).map(|at| f((at / d) as f64, (at % d) as f64)).collect();
    Tensor::from_slice(&values).view([n, d])
}

fn pair(name: &str) -> (Tensor, Tensor) {
    let full_rank = |i: f64, j: f64| (0.37 * (13.0 * i + 7.0 * j + 3.0 * i * j)).sin();
    let phase = |i: f64, j: f64| 0.37 * (13.0 * i + 7.0 * j);
    match name {
        "full_rank" => (
            matrix(64, 8, full_rank),
            matrix(64, 8, |i, j| {
                0.9 * (0.53 * (11.0 * i + 5.0 * j + 2.0 * i * j) + 0.25).sin() + 0.15 + 0.02 * j
            }),
        ),
        "rank2" => {
            (matrix(64, 8, |i, j| phase(i, j).sin()), matrix(64, 8, |i, j| (phase(i, j) + 0.5).sin() + 0.25))
        }
        "pure_shift" => (matrix(64, 8, full_rank), matrix(64, 8, |i, j| full_rank(i, j) + 0.25)),
        "constant" => (matrix(16, 8, |_, _| 1.0), matrix(16, 8, |_, _| 1.0)),
        other => panic!("no formula for the pair {other}"),
    }
}

#[test]
fn pairs_of_feature_sets() {
    let vectors = vectors();
    let pairs = vectors["pairs"].as_object().unwrap();
    assert_eq!(pairs.len(), 4);
    for (name, expected) in pairs {
        let (real, fake) = pair(name);
        let at = |path: &str| format!("/pairs/{name}/{path}");
        check(&vectors, &at("spot_checks/real[5][7]"), real.double_value(&[5, 7]));
        check(&vectors, &at("spot_checks/fake[5][7]"), fake.double_value(&[5, 7]));

        check(&vectors, &at("fid/fid_mpmath_60_digits"), frechet_distance(&real, &fake).unwrap());

        for (estimator, key) in [
            (Estimator::Unbiased, "unbiased"),
            (Estimator::Biased, "biased"),
            (Estimator::UStatistic, "u_statistic"),
        ] {
            let value = mmd_squared(&real, &fake, polynomial_kernel, estimator).unwrap();
            check(&vectors, &at(&format!("kid_poly3/{key}")), value);
        }
        check(&vectors, &at("kid_poly3/unbiased"), kernel_distance(&real, &fake).unwrap());
        if let Some(blocks) = expected["kid_poly3"].get("disjoint_blocks_of_16") {
            for (i, value) in blocks["values"].as_array().unwrap().iter().enumerate() {
                let part = |x: &Tensor| x.narrow(0, 16 * i as i64, 16);
                let actual = kernel_distance(&part(&real), &part(&fake)).unwrap();
                assert_close_f64(actual, value.as_f64().unwrap(), 1e-9, 1e-12);
            }
            let error = kernel_distance_standard_error(&real, &fake, 16).unwrap();
            check(&vectors, &at("kid_poly3/disjoint_blocks_of_16/std_error_ddof1"), error);
        }

        for k in [3, 5] {
            let at = |key: &str| at(&format!("prdc/k={k}/{key}"));
            let found = prdc(&real, &fake, k).unwrap();
            check(&vectors, &at("precision"), found.precision);
            check(&vectors, &at("recall"), found.recall);
            check(&vectors, &at("density"), found.density);
            check(&vectors, &at("coverage"), found.coverage);
            let mean = |x: &Tensor| neighbour_radii(x, k).unwrap().mean(Kind::Double).double_value(&[]);
            check(&vectors, &at("radius_real_mean"), mean(&real));
            check(&vectors, &at("radius_fake_mean"), mean(&fake));
        }
    }
}

#[test]
fn frechet_distance_to_prefixes() {
    let vectors = vectors();
    let (real, fake) = pair("full_rank");
    let prefixes = vectors["fd_infinity_prefix"]["Ns"].as_array().unwrap();
    for (i, n) in prefixes.iter().enumerate() {
        let distance = frechet_distance(&real, &fake.narrow(0, 0, n.as_i64().unwrap())).unwrap();
        check(&vectors, &format!("/fd_infinity_prefix/fids/{i}"), distance);
    }
}

#[test]
fn rbf_mmd_in_two_dimensions() {
    let vectors = vectors();
    let p = matrix(48, 2, |t, j| if j == 0.0 { (0.37 * 13.0 * t).sin() } else { (0.37 * 7.0 * t).cos() });
    let q = matrix(48, 2, |t, j| {
        if j == 0.0 { 0.8 * (0.53 * 11.0 * t).sin() + 0.2 } else { 0.7 * (0.41 * 5.0 * t).cos() - 0.1 }
    });
    let median = median_distance(&Tensor::cat(&[&p, &q], 0)).unwrap();
    check(&vectors, "/two_d/median_heuristic_sigma", median);
    for (key, sigmas) in [
        ("sigma=0.25", vec![0.25]),
        ("sigma=0.5", vec![0.5]),
        ("sigma=1.0", vec![1.0]),
        ("sigma=2.0", vec![2.0]),
        ("sum_of_sigmas_0.25_0.5_1_2", vec![0.25, 0.5, 1.0, 2.0]),
        ("sigma=median", vec![median]),
    ] {
        for (estimator, name) in [
            (Estimator::Unbiased, "unbiased"),
            (Estimator::Biased, "biased"),
            (Estimator::UStatistic, "u_statistic"),
        ] {
            let value = mmd_squared(&p, &q, rbf_kernel(&sigmas), estimator).unwrap();
            check(&vectors, &format!("/two_d/{key}/{name}"), value);
        }
    }
}

/// Standard normal numbers by Box and Muller; libtorch's generator is shared by the tests that run at one time.
fn normal(n: i64, d: i64, seed: u64) -> Tensor {
    let uniform = |i: u64| (derive(seed, Purpose::Data, i) >> 11) as f64 / (1u64 << 53) as f64;
    let at = |i: u64| {
        (-2.0 * (1.0 - uniform(2 * i)).ln()).sqrt() * (std::f64::consts::TAU * uniform(2 * i + 1)).cos()
    };
    let values: Vec<f64> = (0..(n * d) as u64).map(at).collect();
    Tensor::from_slice(&values).view([n, d])
}

#[test]
fn fewer_rows_than_features() {
    // μ and Σ by hand: rows ±a e₁ against ±b e₂ have (Σ_r Σ_f)^½ = 0.
    let (a, b) = (3.0, 2.0);
    let rows =
        |axis: f64, size: f64| matrix(2, 5, |i, j| if j == axis { size * (1.0 - 2.0 * i) } else { 0.0 });
    let distance = frechet_distance(&rows(0.0, a), &rows(1.0, b)).unwrap();
    assert_close_f64(distance, 2.0 * a * a + 2.0 * b * b, 1e-12, 0.0);
    // On one axis it is the distance of two 1-D Gaussians.
    let distance = frechet_distance(&rows(0.0, a), &rows(0.0, b)).unwrap();
    assert_close_f64(distance, 2.0 * (a - b) * (a - b), 1e-12, 1e-12);
}

#[test]
fn precision_and_recall_are_not_swapped_on_mode_collapse() {
    let real = normal(600, 8, 1);
    let collapsed = normal(600, 8, 2) * 0.01 + real.get(0);
    let found = prdc(&real, &collapsed, 5).unwrap();
    assert!(found.precision > 0.95 && found.recall < 0.05 && found.coverage < 0.05, "{found:?}");
    let swapped = prdc(&collapsed, &real, 5).unwrap();
    assert_eq!((swapped.precision, swapped.recall), (found.recall, found.precision));
}

#[test]
fn a_memorised_set_covers_everything() {
    let real = normal(300, 8, 3);
    let found = prdc(&real, &real.flip([0]), 5).unwrap();
    assert_eq!((found.precision, found.recall, found.coverage), (1.0, 1.0, 1.0));
    assert!(frechet_distance(&real, &real.flip([0])).unwrap() < 1e-12);
}

#[test]
fn unequal_counts_in_blocks() {
    // More rows than one block, by brute force.
    let (real, fake) = (normal(700, 3, 4), normal(530, 3, 5) * 0.8);
    let found = prdc(&real, &fake, 3).unwrap();
    let d = (real.unsqueeze(1) - fake.unsqueeze(0))
        .square()
        .sum_dim_intlist([2i64].as_slice(), false, Kind::Double)
        .sqrt();
    let own = |x: &Tensor| {
        let d = (x.unsqueeze(1) - x.unsqueeze(0))
            .square()
            .sum_dim_intlist([2i64].as_slice(), false, Kind::Double)
            .sqrt();
        d.sort(1, false).0.select(1, 3)
    };
    let (r, f) = (own(&real), own(&fake));
    let mean = |mask: Tensor| mask.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    let in_real = d.less_tensor(&r.unsqueeze(1));
    assert_close_f64(found.precision, mean(in_real.any_dim(0, false)), 1e-12, 0.0);
    assert_close_f64(found.recall, mean(d.less_tensor(&f.unsqueeze(0)).any_dim(1, false)), 1e-12, 0.0);
    assert_close_f64(found.density, mean(in_real.copy()) * 700.0 / 3.0, 1e-12, 0.0);
    assert_close_f64(found.coverage, mean(in_real.any_dim(1, false)), 1e-12, 0.0);

    let k = |a: &Tensor, b: &Tensor| polynomial_kernel(a, b).sum(Kind::Double).double_value(&[]);
    let diagonal = |x: &Tensor| polynomial_kernel(x, x).trace().double_value(&[]);
    let expected = (k(&real, &real) - diagonal(&real)) / (700.0 * 699.0)
        + (k(&fake, &fake) - diagonal(&fake)) / (530.0 * 529.0)
        - 2.0 * k(&real, &fake) / (700.0 * 530.0);
    assert_close_f64(kernel_distance(&real, &fake).unwrap(), expected, 1e-10, 1e-12);
}

#[test]
fn the_floor_is_as_predicted() {
    // Two samples of one Gaussian are about (d (d + 1) / 2 + 2 d) / n apart.
    let (d, n) = (32, 2000);
    let distance = frechet_distance(&normal(n, d, 6), &normal(n, d, 7)).unwrap();
    let predicted = (d * (d + 1) / 2 + 2 * d) as f64 / n as f64;
    assert!((distance / predicted - 1.0).abs() < 0.15, "{distance} against {predicted}");
}

#[test]
fn the_standard_error_is_that_of_repetition() {
    let values: Vec<(f64, f64)> = (0..20)
        .map(|i| {
            let (a, b) = (normal(400, 4, 100 + 2 * i), normal(400, 4, 101 + 2 * i));
            (kernel_distance(&a, &b).unwrap(), kernel_distance_standard_error(&a, &b, 40).unwrap())
        })
        .collect();
    let spread =
        Tensor::from_slice(&values.iter().map(|v| v.0).collect::<Vec<_>>()).std(true).double_value(&[]);
    let stated = values.iter().map(|v| v.1).sum::<f64>() / values.len() as f64;
    // Conservative: blocks waste the pairs between them.
    assert!(spread < stated && stated < 6.0 * spread, "spread {spread}, stated {stated}");
}

#[test]
fn impossible_input_is_explained() {
    let (a, b) = (normal(10, 4, 8), normal(10, 4, 9));
    let message = |result: gen_core::Result<f64>| result.unwrap_err().to_string();
    assert_eq!(
        message(frechet_distance(&a.narrow(0, 0, 1), &b)),
        "the Fréchet distance needs at least 2 real rows as [n, features]; found [1, 4]"
    );
    assert_eq!(
        message(frechet_distance(&a, &b.narrow(1, 0, 3))),
        "the Fréchet distance: real rows have 4 features, fake rows 3"
    );
    assert_eq!(
        message(kernel_distance(&a, &(&b / 0.0))),
        "the kernel distance: the fake features are not all finite"
    );
    assert!(prdc(&a, &b.narrow(0, 0, 5), 5).is_err());
    assert!(prdc(&a, &b, 0).is_err());
    assert!(mmd_squared(&a, &b.narrow(0, 0, 9), polynomial_kernel, Estimator::UStatistic).is_err());
    assert!(kernel_distance_standard_error(&a, &b, 6).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn zero_on_equal_sets_and_symmetric_and_blind_to_order(n in 8i64..60, d in 1i64..12, seed in 0u64..1000) {
        let (a, b) = (normal(n, d, seed), normal(n + 3, d, seed + 1) * 1.5 + 0.5);
        let order = Tensor::from_slice(&permutation(n as usize, seed, Purpose::Shuffle, 0));
        let shuffled = a.index_select(0, &order);

        prop_assert!(frechet_distance(&a, &shuffled).unwrap() < 1e-10);
        let ab = frechet_distance(&a, &b).unwrap();
        assert_close_f64(frechet_distance(&b, &a).unwrap(), ab, 1e-9, 1e-10);
        assert_close_f64(frechet_distance(&shuffled, &b).unwrap(), ab, 1e-9, 1e-10);
        // Rotations and shifts of both sets change nothing.
        let (rotation, _) = Tensor::linalg_qr(&normal(d, d, seed + 2), "reduced");
        let moved = |x: &Tensor| x.matmul(&rotation) + 7.0;
        assert_close_f64(frechet_distance(&moved(&a), &moved(&b)).unwrap(), ab, 1e-8, 1e-9);

        let kid = kernel_distance(&a, &b).unwrap();
        assert_close_f64(kernel_distance(&b, &a).unwrap(), kid, 1e-9, 1e-9);
        assert_close_f64(kernel_distance(&shuffled, &b).unwrap(), kid, 1e-9, 1e-9);
        prop_assert!(mmd_squared(&a, &shuffled, polynomial_kernel, Estimator::Biased).unwrap().abs() < 1e-8);

        let found = prdc(&a, &b, 3).unwrap();
        prop_assert_eq!(prdc(&shuffled, &b, 3).unwrap(), found);
        let swapped = prdc(&b, &a, 3).unwrap();
        prop_assert_eq!((swapped.precision, swapped.recall), (found.recall, found.precision));
    }
}
