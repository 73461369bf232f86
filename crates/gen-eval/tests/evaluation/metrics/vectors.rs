//! Every number of `vectors/metrics.json`.

use gen_core::data::Values;
use gen_core::distributions::log_mean_exp;
use gen_core::testing::assert_close_f64;
use gen_eval::{
    Estimator, Moments, auth_pct, chamfer_distance, classifier_score, energy_distance, frechet_distance,
    frechet_distance_infinity, frechet_distance_of_moments, histogram_distance, kernel_distance,
    kernel_distance_standard_error, median_distance, mmd_squared, neighbour_radii, one_nn_accuracy, parzen_log_density,
    polynomial_kernel, prdc, rbf_kernel, sliced_wasserstein, sliced_wasserstein_of_moments, vendi_score,
    wasserstein_exact,
};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::matrix;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/metrics.json")).unwrap()
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

fn pair(name: &str) -> (Tensor, Tensor) {
    let full_rank = |i: f64, j: f64| (0.37 * (13.0 * i + 7.0 * j + 3.0 * i * j)).sin();
    let phase = |i: f64, j: f64| 0.37 * (13.0 * i + 7.0 * j);
    match name {
        "full_rank" => (
            matrix(64, 8, full_rank),
            matrix(64, 8, |i, j| 0.9 * (0.53 * (11.0 * i + 5.0 * j + 2.0 * i * j) + 0.25).sin() + 0.15 + 0.02 * j),
        ),
        "rank2" => (matrix(64, 8, |i, j| phase(i, j).sin()), matrix(64, 8, |i, j| (phase(i, j) + 0.5).sin() + 0.25)),
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

        let distance = number(&vectors, &at("fid/fid_mpmath_60_digits"));
        assert_close_f64(frechet_distance(&real, &fake).unwrap(), distance, 1e-9, 1e-12);
        check(&vectors, &at("fid/fid_nuclear_norm"), frechet_distance(&real, &fake).unwrap());
        let (real_moments, fake_moments) = (Moments::of(&real).unwrap(), Moments::of(&fake).unwrap());
        let stored = frechet_distance_of_moments(&real_moments, &fake_moments).unwrap();
        check(&vectors, &at("fid/fid_mpmath_60_digits"), stored);
        check(&vectors, &at("fid/trace_real"), real_moments.covariance.trace().double_value(&[]));
        check(&vectors, &at("fid/trace_fake"), fake_moments.covariance.trace().double_value(&[]));
        let means = (&real_moments.mean - &fake_moments.mean).square().sum(Kind::Double).double_value(&[]);
        check(&vectors, &at("fid/mean_term"), means);

        for (estimator, key) in
            [(Estimator::Unbiased, "unbiased"), (Estimator::Biased, "biased"), (Estimator::UStatistic, "u_statistic")]
        {
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
            if name == "constant" {
                // Rows that are all equal: the surface of a ball is part of it, as in torch-fidelity. (prdc, whose
                // balls have none, gives 0.) Every fake row is in 16 balls, for k of the 15 others on the surface of
                // each.
                check(&vectors, &at("torch_fidelity_le_precision"), found.precision);
                check(&vectors, &at("torch_fidelity_le_recall"), found.recall);
                assert_close_f64(found.density, 16.0 / 15.0, 1e-12, 0.0);
                assert_eq!(found.coverage, 1.0);
            } else {
                check(&vectors, &at("precision"), found.precision);
                check(&vectors, &at("recall"), found.recall);
                check(&vectors, &at("density"), found.density);
                check(&vectors, &at("coverage"), found.coverage);
            }
            let mean = |x: &Tensor| neighbour_radii(x, k).unwrap().mean(Kind::Double).double_value(&[]);
            check(&vectors, &at("radius_real_mean"), mean(&real));
            check(&vectors, &at("radius_fake_mean"), mean(&fake));
        }

        for (side, x) in [("real", &real), ("fake", &fake)] {
            for (order, key) in [(1.0, "1"), (2.0, "2"), (f64::INFINITY, "inf")] {
                let score = vendi_score(x, order).unwrap();
                check(&vectors, &at(&format!("vendi_cosine/{side}_q={key}")), score);
            }
        }

        let at = |key: &str| at(key);
        let directions = matrix(32, 8, |m, j| (1.7 * m + 0.9 * j + 0.61 * m * j + 0.3).cos());
        let sliced = sliced_wasserstein(&real, &fake, &directions).unwrap();
        check(&vectors, &at("sliced_wasserstein/mean_w2_squared"), sliced.w2_squared_mean);
        check(&vectors, &at("sliced_wasserstein/sw2"), sliced.w2);
        check(&vectors, &at("sliced_wasserstein/sw1"), sliced.w1);
        let mind = 3.0 * 8.0 * sliced.w2_squared_mean;
        check(&vectors, &at("sliced_wasserstein/mind_3d_times_mean_w2sq"), mind);
        check(&vectors, &at("sw_approx_dgm_eval"), sliced_wasserstein_of_moments(&real, &fake).unwrap());
        let axes = Tensor::eye(8, (Kind::Double, Device::Cpu));
        for j in 0..8 {
            let along = sliced_wasserstein(&real, &fake, &axes.narrow(0, j, 1)).unwrap();
            check(&vectors, &at(&format!("w1_per_column_scipy/{j}")), along.w1);
        }
        if real.size() == fake.size() {
            let exact = wasserstein_exact(&real, &fake, 2.0).unwrap();
            check(&vectors, &at("exact_w2_squared_by_assignment"), exact * exact);
        }
        let energy = energy_distance(&real.narrow(1, 0, 1), &fake.narrow(1, 0, 1)).unwrap();
        check(&vectors, &at("energy_distance_col0_scipy"), energy.sqrt());
        check(&vectors, &at("energy_distance_multivariate_V"), energy_distance(&real, &fake).unwrap());

        check(&vectors, &at("authpct/value"), auth_pct(&real, &fake).unwrap());
        let nearest = one_nn_accuracy(&real, &fake).unwrap();
        check(&vectors, &at("one_nn_loo_accuracy/all"), nearest.all);
        check(&vectors, &at("one_nn_loo_accuracy/real"), nearest.real);
        check(&vectors, &at("one_nn_loo_accuracy/fake"), nearest.fake);
    }
}

#[test]
fn classifier_scores() {
    let vectors = vectors();
    let check = |path: &str, actual: f64| check(&vectors, &format!("/inception_score/{path}"), actual);
    let logits = matrix(40, 10, |i, c| 2.0 * (0.7 * i + 1.3 * c + 0.11 * i * c).sin());
    let one = classifier_score(&logits, 1).unwrap();
    check("splits_1", one.score);
    check("log_is_splits_1", one.score.ln());
    check("entropy_marginal", one.marginal_entropy);
    check("mean_conditional_entropy", one.conditional_entropy);
    assert_eq!(one.standard_deviation, 0.0);
    let four = classifier_score(&logits, 4).unwrap();
    check("splits_4_mean", four.score);
    check("splits_4_std_ddof0", four.standard_deviation);
    for i in 0..4 {
        let split = classifier_score(&logits.narrow(0, 10 * i, 10), 1).unwrap();
        check(&format!("splits_4/{i}"), split.score);
    }
    let marginal = logits.softmax(1, Kind::Double).mean_dim(0, false, Kind::Double);
    let uniform = histogram_distance(&marginal.ones_like(), &marginal).unwrap();
    check("kl_marginal_to_uniform", uniform.kl);
    check("tv_marginal_to_uniform", uniform.total_variation);
}

#[test]
fn likelihood_helpers() {
    let vectors = vectors();
    let at = |path: &str| format!("/likelihood_helpers/{path}");
    let nats = number(&vectors, &at("example/nll_nats_on_unit_scale"));
    // The same density over [-1, 1).
    let signed = nats + 784.0 * std::f64::consts::LN_2;
    check(&vectors, &at("example/bpd"), Values::Dequantised.bits_per_dim(-signed, 784));
    let log_weights: Vec<f64> = (0..4).map(|i| number(&vectors, &at(&format!("iwae/log_weights/{i}")))).collect();
    let log_weights = Tensor::from_slice(&log_weights);
    let bound = |x: &Tensor| log_mean_exp(x, 1).mean(Kind::Double).double_value(&[]);
    check(&vectors, &at("iwae/logmeanexp"), bound(&log_weights.view([1, 4])));
    check(&vectors, &at("iwae/elbo_mean"), bound(&log_weights.view([4, 1])));
}

#[test]
fn frechet_distance_to_prefixes_and_its_limit() {
    let vectors = vectors();
    let (real, fake) = pair("full_rank");
    let prefixes = vectors["fd_infinity_prefix"]["Ns"].as_array().unwrap();
    for (i, n) in prefixes.iter().enumerate() {
        let distance = frechet_distance(&real, &fake.narrow(0, 0, n.as_i64().unwrap())).unwrap();
        check(&vectors, &format!("/fd_infinity_prefix/fids/{i}"), distance);
    }
    let sizes: Vec<i64> = prefixes.iter().map(|n| n.as_i64().unwrap()).collect();
    let infinity = frechet_distance_infinity(&real, &fake, &sizes).unwrap();
    check(&vectors, "/fd_infinity_prefix/intercept", infinity.limit);
    check(&vectors, "/fd_infinity_prefix/slope", infinity.slope);
    assert!(infinity.standard_error > 0.0);
}

fn two_dimensions() -> (Tensor, Tensor) {
    let p = matrix(48, 2, |t, j| if j == 0.0 { (0.37 * 13.0 * t).sin() } else { (0.37 * 7.0 * t).cos() });
    let q =
        matrix(
            48,
            2,
            |t, j| {
                if j == 0.0 { 0.8 * (0.53 * 11.0 * t).sin() + 0.2 } else { 0.7 * (0.41 * 5.0 * t).cos() - 0.1 }
            },
        );
    (p, q)
}

#[test]
fn rbf_mmd_in_two_dimensions() {
    let vectors = vectors();
    let (p, q) = two_dimensions();
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
        for (estimator, name) in
            [(Estimator::Unbiased, "unbiased"), (Estimator::Biased, "biased"), (Estimator::UStatistic, "u_statistic")]
        {
            let value = mmd_squared(&p, &q, rbf_kernel(&sigmas), estimator).unwrap();
            check(&vectors, &format!("/two_d/{key}/{name}"), value);
        }
    }
}

#[test]
fn transport_in_two_dimensions() {
    let vectors = vectors();
    let check = |path: &str, actual: f64| check(&vectors, &format!("/two_d/{path}"), actual);
    let (p, q) = two_dimensions();
    let directions = matrix(16, 2, |m, j| {
        let angle = std::f64::consts::PI * m / 16.0;
        if j == 0.0 { angle.cos() } else { angle.sin() }
    });
    let sliced = sliced_wasserstein(&p, &q, &directions).unwrap();
    check("sliced_16_angles/mean_w2_squared", sliced.w2_squared_mean);
    check("sliced_16_angles/sw2", sliced.w2);
    check("sliced_16_angles/sw1", sliced.w1);
    check("exact_w2_squared_by_assignment", wasserstein_exact(&p, &q, 2.0).unwrap().powi(2));
    check("exact_w1_by_assignment", wasserstein_exact(&p, &q, 1.0).unwrap());
    check("energy_distance_V", energy_distance(&p, &q).unwrap());
    check("chamfer_squared", chamfer_distance(&p, &q).unwrap());
    check("parzen_mean_log_density_of_Q_under_kde_of_P_h0.3", parzen_log_density(&p, &q, 0.3).unwrap());
}
