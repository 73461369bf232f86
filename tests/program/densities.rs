//! Uses of likelihoods, through the real program: a table of the user's own, and the detection of other data.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shared::{number, one_line, program, rows, stderr};
use assert_cmd::assert::Assert;
use gen_core::rng::{Purpose, stream};
use gen_data::{idx, npy};
use predicates::prelude::*;
use predicates::str::contains;
use tch::{Device, Kind, Tensor};

/// `gen <command> <run> <rest>`, or `gen train <model> --out <run> <rest>`, with the paths of `more` in place of `{}`.
fn run(arguments: &str, run: &Path, more: &[&Path]) -> Assert {
    let mut program = program();
    let mut arguments = arguments.split_whitespace();
    let command = arguments.next().unwrap();
    program.arg(command);
    if command == "train" {
        program.arg(arguments.next().unwrap()).arg("--out");
    }
    program.arg(run).args(["--threads", "1"]);
    let mut paths = more.iter();
    for argument in arguments {
        match argument {
            "{}" => program.arg(paths.next().unwrap()),
            other => program.arg(other),
        };
    }
    program.assert()
}

/// Writes five dependent columns of very different scales, a map of N(0, I) with a triangular Jacobian, and returns
/// their entropy in nats.
fn table(path: &Path) -> f64 {
    let n = 6000;
    let z = stream(1, Purpose::Data, 0).randn([n, 5], (Kind::Double, Device::Cpu));
    let z = |column: i64| z.select(1, column);
    let first = z(0);
    let bent = z(1) * 0.5 + first.square();
    let skewed = (z(2) * 0.5).exp() + &first * 0.5;
    let linear = (&bent * 0.8 + z(3) * 0.6) * 100.0;
    let wave = (z(4) + (&first * 2.0).sin()) * 0.01 + 5.0;
    let columns = [first, bent, skewed, linear, wave].map(|column| Vec::<f64>::try_from(column).unwrap());
    let mut text = "first,bent,skewed,linear,wave\n".to_owned();
    for row in 0..n as usize {
        let cells: Vec<String> = columns.iter().map(|column| column[row].to_string()).collect();
        writeln!(text, "{}", cells.join(",")).unwrap();
    }
    fs::write(path, text).unwrap();
    // E log |d x / d z|. The exponential contributes log 0.5 + 0.5 E z.
    let log_det: f64 = [1.0, 0.5, 0.5, 60.0, 0.01f64].iter().map(|scale| scale.ln()).sum();
    2.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E).ln() + log_det
}

#[test]
fn training_on_a_table_stops_early() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("table.csv");
    let entropy = table(&csv);
    let data = format!("csv:{}", csv.display());
    let out = folder.path().join("run");
    let settings = format!(
        "train nsf-ar --data {data} --budget 4000steps --progress none --set transforms=3 --set hidden=[32,32] \
         --set optimizer.learning_rate=0.004 --set schedule=\"constant\" --set validate_every=40 --set patience=4 \
         --set validation_rows=100000"
    );
    let trained = run(&settings, &out, &[]).success();
    let validations = rows(&out.join("validation.csv"));
    let losses: Vec<f64> = validations.iter().map(|row| number(row, "loss")).collect();
    let steps: Vec<f64> = validations.iter().map(|row| number(row, "step")).collect();
    let (best, _) = losses.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
    assert_eq!(best + 5, losses.len(), "four validations after the best one: {losses:?}");
    assert!(steps.iter().zip(1..).all(|(step, i)| *step == 40.0 * f64::from(i)), "{steps:?}");
    assert_eq!(validations[0]["n_validation"], "600");
    let (last, best_step) = (steps[steps.len() - 1], steps[best]);
    assert!(last < 4000.0, "it did not stop early: {losses:?}");
    let told = format!("stopped early at step {last} ({:.0} % of the budget)", 100.0 * last / 4000.0);
    let hint = format!("better than that of step {best_step}, whose weights `sample --best`");
    assert!(stderr(&trained).contains(&told) && stderr(&trained).contains(&hint), "{}", stderr(&trained));
    let history = rows(&out.join("history.csv"));
    assert_eq!(number(history.last().unwrap(), "step"), last);
    assert!(out.join(format!("samples/step-{last:07}.png")).is_file());

    // The finished run stays as it is.
    let again = run(&format!("{settings} --resume"), &out, &[]).success();
    assert!(stderr(&again).contains(&told), "{}", stderr(&again));
    assert_eq!((rows(&out.join("history.csv")), rows(&out.join("validation.csv"))), (history, validations));

    run("evaluate --best --metrics likelihood", &out, &[]).success();
    let row = rows(&out.join("evaluation.csv")).remove(0);
    assert_eq!((row["weights"].as_str(), row["likelihood_kind"].as_str()), ("raw-best", "exact"));
    assert_eq!((row["n_likelihood"].as_str(), number(&row, "steps")), ("600", best_step));
    let (nats, error) = (number(&row, "nll_nats"), number(&row, "nll_standard_error"));
    assert!((0.03..0.12).contains(&error), "{error}");
    // Three standard errors below the entropy, and above it the loss from only 5,000 rows.
    let gap = nats - entropy;
    assert!((-3.0 * error..0.35).contains(&gap), "{nats} nats, entropy {entropy}");
}

#[test]
fn patience_needs_validations() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = "train quick-flow --data moons --budget 5steps --set patience=2 --set validation_rows=0";
    run(settings, &out, &[]).failure().stderr(contains("`patience` counts validations").and(one_line()));
}

/// The test images of the digits: `u8 [359, 1, 8, 8]`.
fn digits() -> Tensor {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits/test-images.gz");
    idx::read_images(path).unwrap()
}

/// The rows of `ood.csv` by score.
fn found(out: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    rows(&out.join("ood.csv")).into_iter().map(|row| (row["score"].clone(), row)).collect()
}

#[test]
fn other_data_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let realnvp = "train quick-flow --data digits --progress none --set batch_size=32 --set ema_decay=0.9 --set \
                   couplings=2 --set width=8 --set dense_couplings=2 --set dense_width=32";
    let (flow, background, gan) = (place("flow"), place("background"), place("gan"));
    run(&format!("{realnvp} --budget 150steps"), &flow, &[]).success();
    run(&format!("{realnvp} --budget 100steps --set perturb=0.3"), &background, &[]).success();
    assert!(fs::read_to_string(background.join("config.toml")).unwrap().contains("perturb = 0.3"));

    let write = |name: &str, x: &Tensor| {
        fs::write(place(name), npy::to_bytes(x).unwrap()).unwrap();
        format!("npy:{}", place(name).display())
    };
    let noise = stream(2, Purpose::Data, 0).rand([400, 1, 8, 8], (Kind::Float, Device::Cpu)) * 256.0;
    let noise = write("noise.npy", &noise.floor().to_kind(Kind::Uint8));
    // Nearly black images, like the margins of digits: simple, and likely.
    let flat = write("flat.npy", &(digits().narrow(0, 0, 300) / 16i64).to_kind(Kind::Uint8));

    let out = place("noise");
    let arguments = format!("ood --against {noise} --background {{}} --out {{}}");
    let told = run(&arguments, &flow, &[&background, &out]).success();
    told.stdout(contains("359 test rows of digits against 40 of npy:").and(contains("HIGHER").not()));
    let scores = found(&out);
    let names: Vec<&str> = scores.keys().map(String::as_str).collect();
    assert_eq!(names, ["input-complexity", "likelihood-ratio", "log-likelihood", "typicality"]);
    for (name, row) in &scores {
        let (area, error, passed) = (number(row, "auroc"), number(row, "standard_error"), number(row, "fpr95"));
        assert!((0.0..=1.0).contains(&area) && (0.0..0.1).contains(&error), "{name}: {area} +- {error}");
        assert!((0.0..=1.0).contains(&passed));
        assert_eq!((row["n_in"].as_str(), row["n_out"].as_str()), ("359", "40"), "{name}");
        assert_eq!((row["likelihood_kind"].as_str(), row["background"].as_str()), ("dequantised", "background"));
    }
    for name in ["log-likelihood", "typicality"] {
        assert!(number(&scores[name], "auroc") > 0.99, "{name}: {:?}", scores[name]);
        assert!(number(&scores[name], "fpr95") < 0.05, "{name}");
        assert!(number(&scores[name], "mean_in") > number(&scores[name], "mean_out"), "{name}");
    }
    let picture = image::open(out.join("log-likelihood.png")).unwrap().into_rgb8();
    assert!(picture.pixels().any(|pixel| *pixel != *picture.get_pixel(0, 0)));

    let out = place("flat");
    let told = run(&format!("ood --against {flat} --out {{}}"), &flow, &[&out]).success();
    told.stdout(contains("a HIGHER likelihood than its own test data").and(contains("Nalisnick et al. 2019")));
    let scores = found(&out);
    assert_eq!(scores.len(), 3, "no background, no ratio");
    let area = |name: &str| number(&scores[name], "auroc");
    assert!(area("log-likelihood") < 0.3, "{}", area("log-likelihood"));
    assert!(area("typicality") > 0.5 && area("input-complexity") > area("log-likelihood") + 0.2, "{scores:?}");

    // The command is deterministic.
    let again = place("again");
    run(&format!("ood --against {flat} --out {{}}"), &flow, &[&again]).success();
    assert_eq!(found(&again), scores);

    run("train quick-gan --data digits --budget 2steps --progress none --set batch_size=8", &gan, &[]).success();
    let nothing = place("nothing");
    let fails = |model: &Path, arguments: &str, more: &[&Path], message: &str| {
        let told = run(arguments, model, more).failure();
        told.stderr(contains(message).and(contains("panicked").not()));
        assert!(!nothing.exists(), "{arguments}");
    };
    fails(&gan, "ood --against digits --out {}", &[&nothing], "gives no likelihood to data");
    fails(&flow, "ood --against moons --out {}", &[&nothing], "`moons` has Points");
    fails(&flow, "ood --against digits --kind ode --out {}", &[&nothing], "`ode`");
    let beside = "ood --against digits --background {} --out {}";
    fails(&flow, beside, &[&gan, &nothing], "gives no likelihood to data");
}

#[test]
fn points_have_scores_too() {
    let folder = tempfile::tempdir().unwrap();
    let (flow, out) = (folder.path().join("flow"), folder.path().join("out"));
    run("train quick-flow --data moons --budget 60steps --progress none", &flow, &[]).success();
    run("ood --against 8gaussians -n 300 --out {}", &flow, &[&out]).success().stdout(contains("300 test rows"));
    let scores = found(&out);
    let names: Vec<&str> = scores.keys().map(String::as_str).collect();
    assert_eq!(names, ["log-likelihood", "typicality"], "points have no picture file");
    assert!(number(&scores["log-likelihood"], "auroc") > 0.8);
    let mut moons = program();
    moons.args(["ood", "--against", "8gaussians", "--out"]).arg(&out);
    moons.arg("--background").arg(&flow).arg(&flow).assert().success();
    let ratio = &found(&out)["likelihood-ratio"];
    assert_eq!((number(ratio, "auroc"), number(ratio, "mean_in")), (0.5, 0.0), "a model beside itself");
}
