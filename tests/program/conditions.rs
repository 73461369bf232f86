//! Labels and contexts through the program: training, samples of what is asked for, measuring.

use std::fs;
use std::path::Path;

use assert_cmd::assert::Assert;
use gen_core::rng::{Generator, Purpose, stream};
use predicates::prelude::*;
use predicates::str::contains;
use tch::{Device, Kind};

use crate::shared::{column, one_line, rows, run_in};

/// `gen` in `folder` on one thread.
fn program(folder: &Path, arguments: &str) -> Assert {
    run_in(folder, &format!("{arguments} --threads 1"), &[])
}

#[test]
fn samples_have_the_class_that_is_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let settings = "--set layers=[1,1] --set width=16 --set heads=2 --set batch_size=32 --set noise=uniform \
                    --set sampling.denoise=false --progress none";
    program(temp.path(), &format!("train tarflow --data digits --budget 40steps --out run {settings}")).success();
    let sample = |options: &str, file: &str| {
        program(temp.path(), &format!("sample run {options} --out {file}")).success();
        fs::read(at(file)).unwrap()
    };
    let three = sample("-n 6 --label 3", "three.npy");
    assert_eq!(three, sample("-n 6 --label 3", "again.npy"));
    assert_ne!(three, sample("-n 6 --label 4", "four.npy"));
    assert_ne!(three, sample("-n 6", "any.npy"));
    // Eight of each of the ten classes, a row of the picture a class.
    let told = program(temp.path(), "sample run --label each --out each.png").success();
    told.stderr(contains("80 samples"));
    let picture = image::open(at("each.png")).unwrap();
    assert!(picture.height() > picture.width(), "{} x {}", picture.width(), picture.height());

    program(temp.path(), "evaluate run -n 60 --metrics fd,likelihood --features pca --n-bound 20").success();

    // A model that has learned p(x | label) alone has samples to compare, and no likelihood p(x).
    let train = "train quick-diffusion --data digits --budget 3steps --set network.channels=[8,8] --set batch_size=16 \
                 --set condition.labels=true --set condition_dropout=0 --set sampling.sampler.steps=2 --out alone";
    program(temp.path(), &format!("{train} --progress none")).success();
    program(temp.path(), "evaluate alone -n 60 --metrics fd,likelihood --features pca").success();
    let metrics: Vec<String> = rows(&at("alone/metrics.csv")).into_iter().map(|row| row["metric"].clone()).collect();
    assert_eq!(metrics, ["fd"]);

    let refused = |arguments: &str, expected: &str| {
        program(temp.path(), arguments).failure().stderr(contains(expected).and(one_line()));
    };
    refused("sample run --label ten --out x.png", "unknown class `ten`");
    refused("sample run --label 10 --out x.png", "unknown class `10`");
    refused("sample run --context age=3 --out x.png", "`tarflow` was not trained to be given a context");
    program(temp.path(), "train quick-vae --data digits --budget 2steps --out vae --progress none").success();
    refused("sample vae --label 3 --out x.png", "`quick-vae` was not trained to be given a class");
    program(temp.path(), &format!("train tarflow --data moons --budget 1steps --out moons {settings}"))
        .failure()
        .stderr(contains("table").and(one_line()));
    let with_labels = "train nsf-ar --data moons --budget 1steps --set condition.labels=true --out x --progress none";
    refused(with_labels, "`moons` has no classes: set `condition.labels` to false");
}

#[test]
fn rows_are_given_columns_of_a_table() {
    let temp = tempfile::tempdir().unwrap();
    let rng: Generator = stream(1, Purpose::Data, 0);
    let draw = |n: i64| Vec::<f64>::try_from(rng.randn([n], (Kind::Double, Device::Cpu))).unwrap();
    let (age, noise) = (draw(3000), draw(3000));
    let mut text = "age,height\n".to_owned();
    for (age, noise) in age.iter().zip(&noise) {
        text += &format!("{},{}\n", 40.0 + 10.0 * age, 170.0 + 8.0 * age + 2.0 * noise);
    }
    fs::write(temp.path().join("x.csv"), text).unwrap();
    let train = "train maf --data csv:x.csv?context=age --budget 400steps --set transforms=2 --set learning_rate=0.005 \
                 --out run --progress none";
    program(temp.path(), train).success();
    program(temp.path(), "sample run -n 1000 --context age=60 --out old.csv").success();
    let heights = column(&temp.path().join("old.csv"), "height");
    let mean = heights.iter().sum::<f64>() / heights.len() as f64;
    // 170 + 8 · (60 - 40) / 10
    assert!((mean - 186.0).abs() < 1.0, "{mean}");

    program(temp.path(), "evaluate run").success();
    let nats = column(&temp.path().join("run/evaluation.csv"), "nll_nats")[0];
    // The entropy of N(., 2²).
    let entropy = 0.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E).ln() + 2.0f64.ln();
    assert!((nats - entropy).abs() < 0.15, "{nats} nats, the entropy is {entropy}");
    program(temp.path(), "density run --context age=60 --out density.csv --grid 50").success();

    let refused = |arguments: &str, expected: &str| {
        program(temp.path(), arguments).failure().stderr(contains(expected).and(one_line()));
    };
    refused("sample run --out x.csv", "`maf` needs what samples are given: --context age=...");
    refused("sample run --context height=1 --out x.csv", "unknown column `height`");
    refused("sample run --context age=old --out x.csv", "`old` is no number");
    refused("sample run --context age=1,age=2 --out x.csv", "gives `age` twice");
    let train =
        |model: &str, data: &str| format!("train {model} --data {data} --budget 1steps --out x --progress none");
    refused(&train("quick-gan", "csv:x.csv?context=age"), "`quick-gan` does not learn from a context");
    refused(&train("maf", "csv:x.csv?context=ago"), "did you mean `age`?");
    refused(&train("maf", "csv:x.csv?context=age,height"), "leaves no column to learn");
    refused(&train("maf", "csv:x.csv?context=age,age"), "has the column `age` twice");
}
