//! Against numbers of diffusers and improved-diffusion, and of independent re-implementations in f64.

use std::sync::LazyLock;

use gen_core::distributions::Gaussian;
use gen_core::nn::sinusoidal_embedding;
use gen_core::optim::Ema;
use gen_core::params::NamedTensors;
use gen_core::testing::{assert_close, assert_close_f64};
use gen_diffusion::bound::{Decoder, VariationalBound};
use gen_diffusion::prediction::{EdmScaling, Prediction};
use gen_diffusion::samplers::{Variance, ancestral, ddim, euler, heun};
use gen_diffusion::scales::Scales;
use gen_diffusion::schedule::{
    DiscreteVp, Level, LinearVp, NoiseSchedule, Posterior, Process, SigmaRange, Spacing, VarianceExploding,
};
use gen_diffusion::weighting::Weighting;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../vectors/diffusion.json")).unwrap());

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn tensor(value: &Value) -> Tensor {
    Tensor::from_slice(&read::<Vec<f64>>(value))
}

fn number(value: f64) -> Tensor {
    Tensor::from(value)
}

fn process(schedule: &Value, timesteps: usize) -> DiscreteVp {
    DiscreteVp::new(read(schedule), timesteps).unwrap()
}

fn linear() -> DiscreteVp {
    DiscreteVp::new(NoiseSchedule::Linear, 1000).unwrap()
}

#[test]
fn noise_schedules() {
    for case in list(&VECTORS["noise_schedules"]) {
        let process = process(&case["schedule"], read(&case["timesteps"]));
        for (i, t) in read::<Vec<usize>>(&case["index"]).into_iter().enumerate() {
            let expected = case["alphas_cumprod"][i].as_f64().unwrap();
            assert_close_f64(process.alphas_cumprod()[t], expected, 1e-9, 0.0);
            let level = process.level(t);
            assert_close_f64(level.alpha.powi(2), expected, 1e-9, 0.0);
            assert_close_f64(level.sigma.powi(2), 1.0 - expected, 1e-9, 0.0);
            if let Some(beta) = case["betas"].get(i).and_then(Value::as_f64) {
                assert_close_f64(process.betas()[t], beta, 1e-9, 0.0);
            }
        }
    }
}

#[test]
fn timestep_spacing() {
    for case in list(&VECTORS["timestep_spacing"]) {
        let spacing: Spacing = read(&case["spacing"]);
        let timesteps = spacing.timesteps(1000, read(&case["steps"])).unwrap();
        assert_eq!(timesteps, read::<Vec<usize>>(&case["timesteps"]), "{spacing:?}");
    }
}

#[test]
fn timestep_embedding() {
    let case = &VECTORS["timestep_embedding"];
    let rows: Vec<Tensor> = list(&case["values"]).iter().map(tensor).collect();
    let actual = sinusoidal_embedding(&tensor(&case["t"]), read(&case["dimension"]));
    assert_close(&actual, &Tensor::stack(&rows, 0), 1e-9, 1e-12);
}

/// The deterministic "networks" of the vectors.
fn output(model: &str, x: &Tensor, t: f64) -> Tensor {
    match model {
        "diffusers_dummy" => x * (t / (t + 1.0)),
        "linear" => x * ((t + 1.0) / 1001.0),
        other => panic!("the vectors have a model `{other}`"),
    }
}

/// The noise of draw `k`: sqrt(2) sin(1 + 0.7 i + 1.3 k).
fn noise(x: &Tensor, k: usize) -> Tensor {
    let place = Tensor::arange(8, (Kind::Double, Device::Cpu)) * 0.7 + (1.0 + 1.3 * k as f64);
    place.sin().view_as(x) * 2f64.sqrt()
}

#[test]
fn samplers() {
    let shape: Vec<i64> = read(&VECTORS["meta"]["shape"]);
    let mut checked = 0;
    for case in list(&VECTORS["samplers"]) {
        let (sampler, clip) = (case["sampler"].as_str().unwrap(), case["clip"].as_bool().unwrap());
        if sampler == "ddim" && clip {
            // diffusers leaves ε as it was when it clips x_0; here it is derived anew, see tests/process.rs.
            continue;
        }
        let process = process(&case["schedule"], 1000);
        let prediction = match case["prediction"].as_str().unwrap() {
            "v_prediction" => Prediction::V,
            "epsilon" => Prediction::Epsilon,
            "sample" => Prediction::Sample,
            other => panic!("the vectors have a prediction `{other}`"),
        };
        let mut levels = process.levels(&read::<Vec<usize>>(&case["timesteps"]));
        if !case["last_alpha_one"].as_bool().unwrap() {
            *levels.last_mut().unwrap() = process.level(0);
        }
        for (model, expected) in case["final"].as_object().unwrap() {
            let denoise = |x: &Tensor, level: &Level| {
                let x0 = prediction.x0(&output(model, x, level.time), x, &Scales::of(level, x));
                if clip { x0.clamp(-1.0, 1.0) } else { x0 }
            };
            let mut draws = 0;
            let source = |x: &Tensor| {
                draws += 1;
                noise(x, draws - 1)
            };
            // The reference starts from the f32 values.
            let x = tensor(&VECTORS["meta"]["x"]).to_kind(Kind::Float).to_kind(Kind::Double);
            let x = x.view(shape.as_slice());
            let actual = match sampler {
                "ddim" => ddim(denoise, x, &levels, read(&case["eta"]), source),
                "ancestral" => {
                    let variance = match case["variance"].as_str().unwrap() {
                        "fixed_small" => Variance::FixedSmall,
                        "fixed_large" => Variance::FixedLarge,
                        other => panic!("the vectors have a variance `{other}`"),
                    };
                    ancestral(denoise, x, &levels, variance, source)
                }
                other => panic!("the vectors have a sampler `{other}`"),
            };
            println!("{} {model}", case["name"]);
            assert_close(&actual.view([-1]), &tensor(expected), 1e-9, 1e-9);
            checked += 1;
        }
    }
    assert_eq!(checked, 34);
}

#[test]
fn posterior_coefficients() {
    let (case, process) = (&VECTORS["posterior"], linear());
    for (i, t) in read::<Vec<usize>>(&case["t"]).into_iter().enumerate() {
        let to = if t == 0 { Level::CLEAN } else { process.level(t - 1) };
        let posterior = Posterior::between(&process.level(t), &to);
        let expected = |name: &str| case[name][i].as_f64().unwrap();
        assert_close_f64(posterior.variance, expected("posterior_variance"), 1e-9, 1e-15);
        assert_close_f64(posterior.coef_x0, expected("coef_x0"), 1e-9, 0.0);
        assert_close_f64(posterior.coef_xt, expected("coef_xt"), 1e-9, 1e-15);
        assert_close_f64(posterior.beta, process.betas()[t], 1e-9, 0.0);
    }
}

#[test]
fn diffused_data_and_v() {
    let case = &VECTORS["v_target"];
    let (x0, noise) = (tensor(&case["x0"]), tensor(&case["noise"]));
    let scales = Scales::of(&linear().level(500), &x0);
    assert_close(&scales.diffuse(&x0, &noise), &tensor(&case["x_t"]), 1e-9, 1e-12);
    let v = Prediction::V.target(&x0, &noise, &scales);
    assert_close(&v, &tensor(&case["v_target = a*noise - s*x0"]), 1e-9, 1e-12);
}

#[test]
fn signal_to_noise_ratios() {
    let (case, process) = (&VECTORS["snr"], linear());
    for (i, t) in read::<Vec<usize>>(&case["t"]).into_iter().enumerate() {
        assert_close_f64(process.level(t).snr(), case["snr"][i].as_f64().unwrap(), 1e-9, 0.0);
    }
}

fn edm() -> VarianceExploding {
    VarianceExploding::new(SigmaRange { sigma_min: 0.002, sigma_max: 80.0 }).unwrap()
}

#[test]
fn preconditioning_of_edm() {
    let case = &VECTORS["edm"];
    let scaling = EdmScaling { sigma_data: read(&case["sigma_data"]) };
    for (i, sigma) in read::<Vec<f64>>(&case["sigma"]).into_iter().enumerate() {
        let level = edm().at_log_snr(-2.0 * sigma.ln());
        let scales = Scales::of(&level, &number(0.0).view([1]));
        let weight = Weighting::Edm(scaling).at(&level, Prediction::Sample);
        for (name, found) in [
            ("c_in", scaling.input(&scales).double_value(&[])),
            ("c_skip", scaling.skip(&scales).double_value(&[])),
            ("c_out", scaling.output(&scales).double_value(&[])),
            ("c_noise", level.time),
            ("weight", weight),
        ] {
            assert_close_f64(found, case[name][i].as_f64().unwrap(), 1e-9, 1e-12);
        }
        // The loss is not weighted in the units of the network's output.
        assert_close_f64(Weighting::Edm(scaling).at(&level, Prediction::Edm(scaling)), 1.0, 1e-12, 0.0);
    }
}

/// Those of k-diffusion for data N(0.3, 0.5²), from 80 times the base sample.
#[test]
fn samplers_of_edm() {
    let case = &VECTORS["edm"];
    let levels = Spacing::Karras.levels(&edm(), 18).unwrap();
    let sigmas: Vec<f64> = levels.iter().map(|level| level.sigma).collect();
    assert_close(&Tensor::from_slice(&sigmas), &tensor(&case["karras"]), 1e-9, 0.0);
    let denoise = |x: &Tensor, level: &Level| (x * 0.25 + level.sigma.powi(2) * 0.3) / (0.25 + level.sigma.powi(2));
    for run in list(&case["runs"]) {
        let levels = Spacing::Karras.levels(&edm(), read(&run["steps"])).unwrap();
        let x = tensor(&VECTORS["meta"]["x"]) * 80.0;
        let found = match run["sampler"].as_str().unwrap() {
            "euler" => euler(denoise, x, &levels),
            "heun" => heun(denoise, x, &levels),
            other => panic!("the vectors have a sampler `{other}`"),
        };
        assert_close(&found, &tensor(&run["final"]), 1e-9, 1e-9);
    }
}

#[test]
fn the_linear_process_in_continuous_time() {
    let case = &VECTORS["vp_continuous"];
    let (eps_s, sigmas): (f64, Vec<f64>) = (read(&case["eps_s"]), read(&case["sigmas"]));
    let n = sigmas.len() - 1;
    for (i, sigma) in sigmas[..n].iter().enumerate() {
        let t = 1.0 + (eps_s - 1.0) * i as f64 / (n as f64 - 1.0);
        let level = LinearVp.at((t - 1e-5) / (1.0 - 1e-5));
        assert_close_f64(level.sigma / level.alpha, *sigma, 1e-9, 0.0);
    }
}

#[test]
fn prior_term() {
    let bound = VariationalBound::new(linear().all_levels().unwrap(), Variance::FixedSmall, Decoder::Discretised(256));
    for case in list(&VECTORS["vlb"]["prior_bits_linear"]) {
        let (x0, bits): (f64, f64) = read(case);
        let nats = bound.prior(&number(x0).view([1, 1]));
        assert_close(&(nats / std::f64::consts::LN_2), &number(bits).view([1]), 1e-9, 1e-15);
    }
}

/// The bound of data N(0.3, 0.5²) with the exact denoiser, at one point, for each kind of variance.
#[test]
fn whole_bound_of_a_gaussian() {
    for case in list(&VECTORS["vlb"]["full"]) {
        let name: String = read(&case["variance"]);
        let variance = if name == "fixed_small" { Variance::FixedSmall } else { Variance::FixedLarge };
        let (mean, std, x0): (f64, f64, f64) = (read(&case["data_mean"]), read(&case["data_std"]), read(&case["x0"]));
        let process = linear();
        let bound = VariationalBound::new(process.all_levels().unwrap(), variance, Decoder::Discretised(256));
        // E[x_0 | x_t] = mean + gain (x_t - α mean)
        let gain =
            |level: &Level| level.alpha * std.powi(2) / (level.alpha.powi(2) * std.powi(2) + level.sigma.powi(2));

        let row = number(x0).view([1, 1]);
        let transition = |t: usize| {
            let (level, t) = (process.level(t), Tensor::from_slice(&[t as i64]));
            // The term is linear in the squared error, so its expectation is its value at the expected one.
            let bias = (1.0 - gain(&level) * level.alpha) * (x0 - mean);
            let error = (bias.powi(2) + (gain(&level) * level.sigma).powi(2)).sqrt();
            bound.transition(&t, &row, &(&row - error)).double_value(&[0])
        };
        for (t, expected) in case["terms_nats"].as_object().unwrap() {
            let t: usize = t.parse().unwrap();
            if t > 0 {
                assert_close_f64(transition(t), expected.as_f64().unwrap(), 1e-9, 1e-15);
            }
        }

        // The expectation over the noise by the trapezoidal rule.
        let level = process.level(0);
        let noise = Tensor::linspace(-9.0, 9.0, 4001, (Kind::Double, Device::Cpu)).view([-1, 1]);
        let density = Gaussian::standard(&noise).log_prob(&noise).exp() * (18.0 / 4000.0);
        let estimate = (&noise * level.sigma + level.alpha * (x0 - mean)) * gain(&level) + mean;
        let reconstruction = bound.reconstruction(&row.expand([4001, 1], false), &estimate);
        let reconstruction = (reconstruction * density).sum(Kind::Double).double_value(&[]);
        // As above: Φ here, a tanh there, which shows most in the tails.
        let expected = case["terms_nats"]["0"].as_f64().unwrap();
        assert_close_f64(reconstruction, expected, 0.0, 5e-3);

        let total = (1..1000).map(transition).sum::<f64>() + bound.prior(&row).double_value(&[0]);
        let bits = case["total_bits"].as_f64().unwrap();
        assert_close_f64(total, bits * std::f64::consts::LN_2 - expected, 1e-9, 0.0);
    }
}

#[test]
fn averaging_warms_up() {
    let one = |value: f64| -> NamedTensors { [("w".to_owned(), number(value))].into_iter().collect() };
    let live = one(0.0);
    let mut ema = Ema::new(live.shallow_clone(), 0.9999);
    let average = |ema: &Ema| ema.average().get("w").unwrap().double_value(&[]);
    let expected = VECTORS["ema"]["default"].as_object().unwrap();
    for n in 1..=1000 {
        let before = average(&ema);
        live.assign(&one(before + 1.0)).unwrap();
        ema.update().unwrap();
        if let Some(decay) = expected.get(&n.to_string()) {
            assert_close_f64(1.0 - (average(&ema) - before), decay.as_f64().unwrap(), 1e-9, 0.0);
        }
    }
}
