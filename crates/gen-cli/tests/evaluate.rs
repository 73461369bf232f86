//! `gen evaluate` and `gen features` through the real program.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use tch::{Device, Kind, Tensor};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gen"))
}

fn evaluate(arguments: &str, out: &Path) -> Assert {
    program().arg("evaluate").args(arguments.split_whitespace()).arg("--out").arg(out).assert()
}

/// The one row of a folder's evaluation.csv.
fn row(folder: &Path) -> BTreeMap<String, String> {
    let mut reader = csv::Reader::from_path(folder.join("evaluation.csv")).unwrap();
    let mut rows = reader.deserialize();
    let row = rows.next().unwrap().unwrap();
    assert!(rows.next().is_none());
    row
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column}: {:?}", row[column]))
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
fn samples_of_anyone() {
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
    let command = "gen features train --data digits --out crates/gen-cli/features --threads 1 --epochs 2";
    assert!(records.contains(command), "{records}");
    let file = folder.path().join("digits.safetensors");
    let out = folder.path().join("out");
    let arguments = format!("--reference floor --data digits --features {}", file.display());
    evaluate(&arguments, &out).success();
    assert!(records.contains(&row(&out)["feature_sha256"]));
    let list = program().args(["features", "list"]).assert().success();
    list.stdout(contains("fashion-mnist").and(contains("gen features train --data mnist")));
}
