//! `gen evaluate` and `gen features` through the real program.

use std::collections::BTreeMap;
use std::path::Path;

use crate::shared::{number, program, rows};
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use tch::{Device, Kind, Tensor};

fn evaluate(arguments: &str, out: &Path) -> Assert {
    program().arg("evaluate").args(arguments.split_whitespace()).arg("--out").arg(out).assert()
}

/// The only row of evaluation.csv in a folder.
fn row(folder: &Path) -> BTreeMap<String, String> {
    let mut rows = rows(&folder.join("evaluation.csv"));
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

#[test]
fn references_of_digits() {
    let folder = tempfile::tempdir().unwrap();
    let mut distances = Vec::new();
    for name in ["floor", "pixel-gaussian", "pixel-noise"] {
        let out = folder.path().join(format!("reference-{name}"));
        evaluate(&format!("--reference {name} --data digits"), &out).success().stdout(contains("coverage"));
        let row = row(&out);
        assert_eq!((row["family"].as_str(), row["model"].as_str()), ("reference", name));
        assert_eq!((row["dataset"].as_str(), row["weights"].as_str()), ("digits", "none"));
        assert_eq!(row["run"], format!("reference-{name}"));
        assert_eq!((row["n_fake"].as_str(), row["feature_space"].as_str()), ("359", "classifier:digits"));
        assert_eq!((row["feature_sha256"].len(), row["dataset_sha256"].len()), (64, 64));
        assert!(out.join("samples/evaluation.png").is_file());
        distances.push(number(&row, "fd"));
        if name == "floor" {
            assert_eq!((&row["fd"], row["bits_per_dim"].as_str()), (&row["fd_floor"], ""));
        }
    }
    assert!(distances.is_sorted(), "{distances:?}");
}

#[test]
fn a_reference_of_points() {
    let folder = tempfile::tempdir().unwrap();
    evaluate("--reference pixel-gaussian --data 8gaussians -n 1000", folder.path()).success();
    let row = row(folder.path());
    assert_eq!((row["feature_space"].as_str(), row["modes_total"].as_str()), ("identity", "8"));
    assert!((number(&row, "nll_nats") - 4.2552).abs() < 0.1);
    assert!(number(&row, "nll_gap_nats") > 1.0 && number(&row, "mmd") > 0.0);
    assert!(folder.path().join("samples/evaluation.png").is_file());
}

#[test]
fn samples_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grey.npy");
    Tensor::full([50, 1, 8, 8], 100, (Kind::Uint8, Device::Cpu)).write_npy(&file).unwrap();
    let out = folder.path().join("out");
    evaluate(&format!("--samples {} --data digits --features pca", file.display()), &out).success();
    let row = row(&out);
    assert_eq!((row["family"].as_str(), row["model"].as_str()), ("samples", "grey"));
    assert_eq!((row["n_real"].as_str(), row["n_fake"].as_str()), ("359", "50"));
    assert_eq!((row["feature_space"].as_str(), number(&row, "coverage")), ("pca-61", 0.0));
    let modes = format!("--samples {} --data digits --features pca --metrics modes,vendi", file.display());
    let told = "warning: out: modes does not apply here";
    evaluate(&modes, &out).success().stderr(contains(told).and(contains("vendi does not").not()));
}

/// A run of a few steps.
fn trained(folder: &Path, name: &str) -> std::path::PathBuf {
    let run = folder.join(name);
    let train = ["train", "quick-flow", "--data", "moons", "--budget", "2steps", "--threads", "1", "--out"];
    program().args(train).arg(&run).assert().success();
    run
}

#[test]
fn a_run_is_measured_into_its_folder_or_another() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), "mine");
    let few = ["-n", "200", "--metrics", "fd,likelihood"];
    // From inside the folder it has the same name.
    program().arg("evaluate").arg(".").args(few).current_dir(&run).assert().success().stdout(contains("mine "));
    let own = row(&run);
    assert_eq!((own["run"].as_str(), own["likelihood_kind"].as_str()), ("mine", "exact"));
    let out = folder.path().join("new").join("place");
    program().arg("evaluate").arg(&run).args(few).arg("--out").arg(&out).assert().success();
    assert_eq!(row(&out)["fd"], own["fd"]);
    assert!(out.join("samples/evaluation.png").is_file());
    // Several runs get a folder each.
    let other = trained(folder.path(), "other");
    let both = folder.path().join("both");
    program().arg("evaluate").args([&run, &other]).args(few).arg("--out").arg(&both).assert().success();
    assert_eq!(
        (row(&both.join("mine"))["fd"].as_str(), both.join("other/metrics.csv").is_file()),
        (own["fd"].as_str(), true)
    );
    let twice = program().arg("evaluate").args([&run, &run]).args(few).arg("--out").arg(&both).assert();
    twice.failure().stderr(contains("would both be written to"));
}

/// The report groups seeds by the configuration, and ranks times by how sampling was timed.
#[test]
fn an_evaluation_tells_its_configuration_and_how_sampling_was_timed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |arguments: &str, folder: &Path| {
        program().args(arguments.split_whitespace()).arg(folder).assert().success();
    };
    let evaluated = |name: &str, settings: &str, more: &str| {
        let train = "train quick-flow --data moons --budget 2steps --device cpu --threads 1";
        run(&format!("{train} {settings} --out"), &at(name));
        run(&format!("evaluate --metrics fd --device cpu {more}"), &at(name));
        let row = row(&at(name));
        let folder = gen_run::RunFolder::open(at(name)).unwrap();
        assert_eq!(row["config_sha256"], folder.config().sha256().unwrap());
        assert_eq!((row["device"].as_str(), row["threads"].as_str()), ("cpu", "1"));
        assert_eq!(row["sample_device"], "cpu");
        assert_eq!(row["sample_processor"], gen_report::Machine::this().cpu);
        assert!(number(&row, "sample_images_per_second") > 0.0 && number(&row, "sample_latency_ms") > 0.0);
        row
    };
    let first = evaluated("first", "--seed 0", "-n 700 --threads 1");
    let second = evaluated("of-another-name", "--seed 1", "-n 700 --threads 2");
    let other = evaluated("other", "--seed 1 --set batch_size=16", "-n 200 --threads 1");
    assert_eq!(first["config_sha256"], second["config_sha256"]);
    assert_ne!(first["config_sha256"], other["config_sha256"]);
    for (row, threads, batch) in [(&first, "1", "500"), (&second, "2", "500"), (&other, "1", "200")] {
        assert_eq!((row["sample_threads"].as_str(), row["sample_batch"].as_str()), (threads, batch));
    }
    let both = at("both");
    program().arg("compare").args([at("first"), at("of-another-name")]).arg("--out").arg(&both).assert().success();
    let rows = rows(&both.join("models.csv"));
    let of = |metric: &str| rows.iter().filter(|row| row["metric"] == metric).collect::<Vec<_>>();
    assert_eq!((of("fd").len(), of("fd")[0]["n_seeds"].as_str()), (1, "2"));
    // Times are kept apart by the number of threads.
    assert_eq!(of("sample_images_per_second").len(), 2);
    // An evaluation without samples has no time of sampling.
    run("evaluate -n 200 --metrics likelihood --device cpu --threads 1", &at("other"));
    let row = row(&at("other"));
    assert_eq!((row["sample_batch"].as_str(), row["sample_images_per_second"].as_str()), ("", ""));
}

#[test]
fn an_unwritable_folder_is_refused_before_the_work_and_loses_no_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let reference = "--reference floor --data digits --metrics fd";
    let told = evaluate(reference, &file.join("out")).failure();
    told.stderr(contains("is a file").and(contains("floor").not())).stdout("");
    // An error at the end: a folder has the name of a file.
    let out = folder.path().join("out");
    std::fs::create_dir_all(out.join("evaluation.csv")).unwrap();
    let told = evaluate(reference, &out).failure();
    told.stdout(contains("classifier:digits")).stderr(contains("evaluation.csv").and(contains("panicked").not()));
}

/// Two samples are too few for a comparison, and huge numbers fit the table.
#[test]
fn few_and_wild_samples_get_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let file = folder.path().join("few.npy");
    Tensor::from_slice(&[0.1f32, 0.2, 0.3, 0.4]).view([2, 2]).write_npy(&file).unwrap();
    let arguments = format!("--samples {} --data moons", file.display());
    let few = evaluate(&arguments, &out).success();
    few.stdout(contains("tie with the floor").not().and(contains("2 samples and")).and(contains("too few")));
    assert_eq!(row(&out)["fd_standard_error"], "");
    (Tensor::ones([200, 2], (Kind::Float, Device::Cpu)) * 1e30).write_npy(&file).unwrap();
    evaluate(&arguments, &out).success().stdout(contains("e60").or(contains("e59")));
    (Tensor::ones([200, 2], (Kind::Float, Device::Cpu)) * f64::NAN).write_npy(&file).unwrap();
    let told = contains("row 1, column 1").and(contains("NaN is not a finite number"));
    evaluate(&arguments, &out).failure().stderr(told);
}

#[test]
fn a_folder_sorted_by_class_is_taken_in_random_order() {
    let folder = tempfile::tempdir().unwrap();
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits");
    let images = gen_data::idx::read_images(digits.join("test-images.gz")).unwrap();
    let labels = gen_data::idx::read_labels(digits.join("test-labels.gz")).unwrap();
    let pictures = folder.path().join("pictures");
    for (i, label) in Vec::<i64>::try_from(labels).unwrap().into_iter().enumerate() {
        let class = pictures.join(label.to_string());
        std::fs::create_dir_all(&class).unwrap();
        let bytes = Vec::<u8>::try_from(images.get(i as i64).flatten(0, -1)).unwrap();
        let picture = image::GrayImage::from_raw(8, 8, bytes).unwrap();
        picture.save(class.join(format!("{i:03}.png"))).unwrap();
    }
    let out = folder.path().join("out");
    let arguments = format!("--samples {} --data digits -n 150 --metrics classes,fd", pictures.display());
    let told = contains("150 of 359 samples, drawn by --seed");
    evaluate(&arguments, &out).success().stderr(told);
    // The first 150 pictures have four or five classes. Their total variation distance to ten classes is above 0.5.
    let found = number(&row(&out), "class_tv");
    assert!(found < 0.2, "{found}");
}

#[test]
fn mistakes_are_one_line_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let fails = |arguments: &str, message: &str| {
        let panics_not = contains("panicked").not();
        evaluate(arguments, &out).failure().stderr(contains(message).and(panics_not));
        assert!(!out.exists(), "{arguments}");
    };
    fails("--reference flor --data digits", "did you mean `floor`?");
    fails("--reference floor --data digist", "did you mean `digits`?");
    fails("--reference floor --data digits --features nothing.safetensors", "nothing.safetensors");
    fails("--samples nothing.npy --data digits", "nothing.npy");
    let file = folder.path().join("wide.npy");
    Tensor::zeros([9, 1, 8, 9], (Kind::Uint8, Device::Cpu)).write_npy(&file).unwrap();
    let wide = format!("--samples {} --data digits", file.display());
    fails(&wide, "should be bytes [9, 1, 8, 8], found Uint8 [9, 1, 8, 9]");
    let missing = folder.path().join("missing");
    program().arg("evaluate").arg(&missing).assert().code(1).stderr(contains("there is no run in"));
    program().arg("evaluate").assert().code(2);
}

#[test]
fn a_feature_network_is_trained_recorded_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let train = "features train --data digits --epochs 2 --threads 1 --out";
    let trained = program().args(train.split(' ')).arg(folder.path()).assert();
    trained.success().stderr(contains("epoch 2 of 2"));
    let records = std::fs::read_to_string(folder.path().join("features.toml")).unwrap();
    let command = "gen features train --data digits --kind classifier --out crates/gen-cli/features --threads 1 \
        --epochs 2";
    assert!(records.contains(command), "{records}");
    let file = folder.path().join("classifier-digits.safetensors");
    let out = folder.path().join("out");
    let arguments = format!("--reference floor --data digits --features {}", file.display());
    evaluate(&arguments, &out).success();
    assert!(records.contains(&row(&out)["feature_sha256"]));
    let list = program().args(["features", "list"]).assert().success();
    list.stdout(contains("fashion-mnist").and(contains("gen features train --data mnist")));
}

#[test]
fn a_network_without_labels_is_trained_recorded_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let train = |arguments: &str| {
        let line = format!("features train --kind self-supervised --threads 1 {arguments} --out");
        program().args(line.split_whitespace()).arg(folder.path()).assert()
    };
    let refused = |arguments: &str, told: &str| {
        train(arguments).failure().code(1).stderr(contains(told).and(contains("panicked").not()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments}");
    };
    refused("--data digits --dropout 0.1", "--dropout is for classifiers");
    refused("--data moons", "a feature network needs images");
    let trained = train("--data digits --epochs 1").success();
    trained.stderr(contains("epoch 1 of 1: loss ").and(contains("on validation").not()));
    let records = std::fs::read_to_string(folder.path().join("features.toml")).unwrap();
    let command = "gen features train --data digits --kind self-supervised --out crates/gen-cli/features --threads 1 \
        --epochs 1";
    assert!(records.contains("[self-supervised.digits]") && records.contains(command), "{records}");
    assert!(!records.contains("test_accuracy"), "{records}");
    let file = folder.path().join("self-supervised-digits.safetensors");
    let out = folder.path().join("out");
    let arguments = format!("--reference floor --data digits --metrics fd,prdc --features {}", file.display());
    evaluate(&arguments, &out).success();
    let measured = row(&out);
    assert_eq!(measured["feature_space"], "self-supervised:digits");
    assert!(records.contains(&measured["feature_sha256"]));
    // Noise is far from the digits in this space.
    let noise = folder.path().join("noise");
    evaluate(&arguments.replace("floor", "pixel-noise"), &noise).success();
    let fd = |folder: &Path| number(&row(folder), "fd");
    assert!(fd(&noise) > 5.0 * fd(&out), "{} {}", fd(&noise), fd(&out));
    // One file has the records of both kinds.
    let other = program()
        .args("features train --data digits --epochs 1 --threads 1 --out".split(' '))
        .arg(folder.path())
        .assert();
    other.success();
    let both = std::fs::read_to_string(folder.path().join("features.toml")).unwrap();
    assert!(both.contains("[classifier.digits]") && both.contains(&measured["feature_sha256"]), "{both}");
}
