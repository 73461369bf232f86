//! Files of the user's own through the real program: tables, arrays and pictures.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::shared::{column, run_in, stderr};
use assert_cmd::assert::Assert;
use gen_core::rng::{Purpose, permutation, stream};
use gen_data::npy;
use predicates::prelude::*;
use predicates::str::contains;
use tch::{Device, Kind, Tensor};

/// `gen` in `folder` on one thread, with a separate cache.
fn program(folder: &Path, arguments: &str) -> Assert {
    run_in(folder, &format!("{arguments} --threads 1"), &[])
}

/// `n` draws of N(0, 1).
fn normal(n: i64, seed: u64) -> Vec<f64> {
    Vec::try_from(stream(seed, Purpose::Data, 0).randn([n], (Kind::Double, Device::Cpu))).unwrap()
}

fn write_table(path: &Path, header: &str, columns: &[Vec<f64>]) {
    let mut text = format!("{header}\n");
    for row in 0..columns[0].len() {
        let cells: Vec<String> = columns.iter().map(|column| format!("{:?}", column[row])).collect();
        text += &format!("{}\n", cells.join(","));
    }
    fs::write(path, text).unwrap();
}

fn mean_and_std(x: &[f64]) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt())
}

#[test]
fn a_large_offset_and_a_tiny_scale_lose_no_digits() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let [day, flux, z] = [1, 2, 3].map(|seed| normal(4000, seed));
    let day: Vec<f64> = day.iter().map(|z| 2_451_545.0 + 0.3 * z).collect();
    let flux: Vec<f64> = flux.iter().map(|z| 1e-21 * z).collect();
    write_table(&at("x.csv"), "day,flux,z", &[day.clone(), flux.clone(), z.clone()]);
    let stacked = Tensor::stack(&[day, flux, z].map(|column| Tensor::from_slice(&column)), 1);
    fs::write(at("x.npy"), npy::to_bytes(&stacked).unwrap()).unwrap();
    // 3 (1 + ln 2π) / 2 + ln 0.3 + ln 1e-21
    let entropy = 1.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E).ln() + 0.3f64.ln() + 1e-21f64.ln();
    for (model, data) in [
        ("quick-flow", "csv:x.csv"),
        ("quick-vae", "npy:x.npy"),
        ("quick-diffusion", "csv:x.csv"),
        ("quick-gan", "csv:x.csv"),
    ] {
        let train = format!("train {model} --data {data} --budget 300steps --out {model} --progress none");
        let told = stderr(&program(folder.path(), &train).success());
        assert!(!told.contains("one value") && !told.contains("warning"), "{told}");
        program(folder.path(), &format!("sample {model} -n 1000 --out {model}.csv")).success();
        let names = if data.starts_with("csv") { ["day", "flux"] } else { ["x1", "x2"] };
        let [day, flux] = names.map(|name| column(&at(&format!("{model}.csv")), name));
        let distinct: BTreeSet<u64> = day.iter().map(|value| value.to_bits()).collect();
        assert!(distinct.len() > 990, "{model}: {} different days", distinct.len());
        // A GAN needs more steps, so only its scale is checked.
        let (far, allowed) = if model == "quick-gan" { (0.9, 0.9) } else { (0.1, 0.35) };
        for (name, x, mean, std) in [("day", &day, 2_451_545.0, 0.3), ("flux", &flux, 0.0, 1e-21)] {
            let (found_mean, found_std) = mean_and_std(x);
            assert!((found_mean - mean).abs() < far * std, "{model}, {name}: mean {found_mean}");
            assert!((found_std / std - 1.0).abs() < allowed, "{model}, {name}: deviation {found_std}");
        }
        if model != "quick-gan" {
            program(folder.path(), &format!("evaluate {model} --metrics likelihood")).success();
            let nats = column(&at(model).join("evaluation.csv"), "nll_nats")[0];
            // Four standard errors of 400 rows below the entropy.
            assert!((-0.25..0.6).contains(&(nats - entropy)), "{model}: {nats} nats, entropy {entropy}");
        }
        // An array of the same samples has the same numbers.
        program(folder.path(), &format!("sample {model} -n 1000 --out {model}.npy")).success();
        let array = npy::read(at(&format!("{model}.npy"))).unwrap();
        assert_eq!(Vec::<f64>::try_from(array.select(1, 0)).unwrap(), day, "{model}");
    }
}

#[test]
fn values_that_are_not_finite_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let last = permutation(50, 0, Purpose::Data, 0)[49];
    let x = Tensor::from_slice(&normal(100, 1)).view([50, 2]);
    fs::write(at("good.npy"), npy::to_bytes(&x).unwrap()).unwrap();
    let _ = x.get(last).get(1).fill_(f64::NAN);
    fs::write(at("x.npy"), npy::to_bytes(&x.to_kind(Kind::Float)).unwrap()).unwrap();
    let place = format!("row {}, column 2 (x[{last}, 1]): NaN is not a finite number", last + 1);
    let train = "train nsf --data npy:x.npy --budget 5steps --out run --progress none";
    program(folder.path(), train).failure().code(1).stderr(contains(&place));
    assert!(!at("run").exists());
    let samples = "evaluate --samples x.npy --data npy:good.npy --metrics sliced-wasserstein";
    program(folder.path(), samples).failure().code(1).stderr(contains(&place));
}

#[test]
fn an_outlier_in_validation_is_named_and_harms_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let row = permutation(400, 0, Purpose::Data, 0)[330] as usize;
    let mut columns = [normal(400, 1), normal(400, 2)];
    columns[1][row] = 1e6;
    write_table(&at("x.csv"), "a,b", &columns);
    let place = format!("line {}, column 2 (`b`): 1000000 is", row + 2);
    let models = [
        "quick-vae",
        "ae",
        "quick-flow",
        "nsf",
        "nsf-ar",
        "maf",
        "iaf",
        "ffjord",
        "residual-flow",
        "tarflow",
        "quick-diffusion",
    ];
    for model in models {
        let train = format!(
            "train {model} --data csv:x.csv --budget 20steps --out {model} --progress none --set validation_rows=40 \
             --set validate_every=5"
        );
        program(folder.path(), &train).success().stderr(contains(&place));
        let losses = column(&at(model).join("validation.csv"), "loss");
        assert!(losses.len() >= 4 && losses.iter().all(|loss| loss.is_finite()), "{model}: {losses:?}");
    }
}

#[test]
fn discrete_columns_are_a_warning_and_can_be_dequantised() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let z = normal(1000, 1);
    let age: Vec<f64> = z.iter().map(|z| (40.0 + 12.0 * z).round()).collect();
    write_table(&at("x.csv"), "age,mass", &[age, normal(1000, 2)]);
    let train = |more: &str| {
        format!("train quick-flow --budget 60steps --progress none --set couplings=4 --set hidden=[32,32] {more}")
    };
    let warned =
        || contains("column 1 (`age`), ").and(contains("values 1 apart")).and(contains("--set dequantise=true"));
    program(folder.path(), &train("--data csv:x.csv --out plain")).success().stderr(warned());
    // Every command that shows a likelihood warns.
    for line in [
        "evaluate plain --metrics likelihood",
        "evaluate --reference pixel-gaussian --data csv:x.csv --metrics likelihood --out gaussian",
        "density plain --grid 5 --out density.csv",
        "ood plain --against moons -n 20 --out ood",
    ] {
        program(folder.path(), line).success().stderr(warned());
    }
    for (run, how) in [("set", "--data csv:x.csv --set dequantise=true"), ("named", "--data csv:x.csv?dequantise=age")]
    {
        let told = || {
            let spread = contains("likelihoods are those of dequantised values").and(contains("column 1 (`age`) by 1"));
            spread.and(contains("not continuous").not())
        };
        program(folder.path(), &train(&format!("{how} --out {run}"))).success().stderr(told());
        assert!(fs::read_to_string(at(run).join("config.toml")).unwrap().contains("step = 1.0"));
        program(folder.path(), &format!("sample {run} -n 200 --out {run}.csv")).success();
        assert!(column(&at(&format!("{run}.csv")), "age").iter().all(|age| age.fract() == 0.0));
        assert!(column(&at(&format!("{run}.csv")), "mass").iter().all(|mass| mass.fract() != 0.0));
        program(folder.path(), &format!("evaluate {run} --metrics likelihood")).success().stderr(told());
        program(folder.path(), &format!("density {run} --grid 5 --out density.csv")).success().stderr(told());
        // The other data may be continuous.
        let ood = format!("ood {run} --against moons -n 20 --out ood");
        program(folder.path(), &ood).success().stderr(told()).stdout(contains("(dequantised)"));
        let table = fs::read_to_string(at(run).join("evaluation.csv")).unwrap();
        assert!(table.contains(",dequantised,") && !table.contains(",exact,"), "{table}");
    }
    // Commands and models without likelihoods do not warn.
    let floor = "evaluate --reference floor --data csv:x.csv --metrics sliced-wasserstein --out floor";
    program(folder.path(), floor).success().stderr(contains("continuous").not());
    let gan = "train quick-gan --data csv:x.csv --budget 5steps --progress none --out gan";
    program(folder.path(), gan).success().stderr(contains("continuous").not());
}

/// The kinds of likelihood in metrics.csv.
fn kinds(folder: &Path) -> BTreeSet<String> {
    let mut reader = csv::Reader::from_path(folder.join("metrics.csv")).unwrap();
    let at = reader.headers().unwrap().iter().position(|header| header == "parameter").unwrap();
    reader.records().map(|row| row.unwrap()[at].to_owned()).collect()
}

#[test]
fn likelihoods_of_dequantised_points_are_named_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let age: Vec<f64> = normal(500, 1).iter().map(|z| (40.0 + 12.0 * z).round()).collect();
    write_table(&folder.path().join("x.csv"), "age,mass", &[age, normal(500, 2)]);
    let few = "--metrics likelihood --n-bound 20 --n-ode 5";
    // Bounds need no other name: they bound the likelihood of dequantised points.
    for (model, expected) in [
        ("maf", &["dequantised"][..]),
        ("tarflow", &["dequantised"]),
        ("quick-vae", &["importance-64", "lower-bound"]),
        ("quick-diffusion", &["dequantised-ode", "lower-bound"]),
    ] {
        let train = format!(
            "train {model} --data csv:x.csv --set dequantise=true --budget 3steps --progress none --out {model}"
        );
        program(folder.path(), &train).success();
        program(folder.path(), &format!("evaluate {model} {few}")).success();
        assert!(kinds(&folder.path().join(model)).iter().eq(expected), "{model}");
    }
    for (data, expected) in [("csv:x.csv?dequantise=age", "dequantised"), ("csv:x.csv", "exact")] {
        let reference = format!("evaluate --reference pixel-gaussian --data {data} {few} --out {expected}");
        program(folder.path(), &reference).success();
        assert!(kinds(&folder.path().join(expected)).iter().eq([expected]), "{data}");
    }
}

#[test]
fn samples_may_be_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (a, b): (Vec<f64>, Vec<f64>) = (normal(600, 1), normal(600, 2).iter().map(|z| 100.0 + 5.0 * z).collect());
    write_table(&at("x.csv"), "a,b", &[a.clone(), b.clone()]);
    let x = Tensor::stack(&[Tensor::from_slice(&a), Tensor::from_slice(&b)], 1);
    fs::write(at("same.npy"), npy::to_bytes(&x).unwrap()).unwrap();
    // The same columns in another order, and a column that the data do not have.
    write_table(&at("other.csv"), "b,weight,a", &[b, normal(600, 3), a]);
    let evaluate = |samples: &str, out: &str| {
        format!("evaluate --samples {samples} --data csv:x.csv --metrics sliced-wasserstein --out {out}")
    };
    program(folder.path(), &evaluate("same.npy", "first")).success();
    program(folder.path(), &evaluate("other.csv", "second")).success();
    let [first, second] = ["first", "second"].map(|out| column(&at(out).join("metrics.csv"), "value"));
    assert_eq!(first, second);
    write_table(&at("wrong.csv"), "a,c", &[normal(600, 1), normal(600, 2)]);
    program(folder.path(), &evaluate("wrong.csv", "third"))
        .failure()
        .stderr(contains("wrong.csv has the columns a, c; samples of").and(contains("x.csv` have a, b")));
    write_table(&at("three.csv"), "1.5,2.5,3.5", &[normal(600, 1), normal(600, 2), normal(600, 3)]);
    program(folder.path(), &evaluate("three.csv", "fourth"))
        .failure()
        .stderr(contains("holds an array [601, 3]").and(contains("[n, 2]")));
}

#[test]
fn grey_pictures_are_grey_however_they_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["grey", "rgb", "deep", "colour"] {
        fs::create_dir(at(name)).unwrap();
    }
    let mut bytes: Vec<u8> = Vec::new();
    for i in 0..30u32 {
        let grey = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 7 + y * 11 + i * 5) as u8]));
        bytes.extend(grey.as_raw());
        let grey = image::DynamicImage::ImageLuma8(grey);
        let file = format!("{i:02}.png");
        grey.save(at("grey").join(&file)).unwrap();
        if i % 2 == 0 {
            grey.to_rgb8().save(at("rgb").join(&file)).unwrap();
        } else {
            grey.to_rgba8().save(at("rgb").join(&file)).unwrap();
        }
        grey.to_luma16().save(at("deep").join(&file)).unwrap();
        let mut colour = grey.to_rgb8();
        colour.put_pixel(1, 1, image::Rgb([255, 0, 0]));
        colour.save(at("colour").join(&file)).unwrap();
    }
    let array = |name: &str, x: &Tensor| fs::write(at(name), npy::to_bytes(x).unwrap()).unwrap();
    let one = Tensor::from_slice(&bytes).view([30, 1, 8, 8]);
    let three = one.expand([30, 3, 8, 8], false).contiguous();
    array("one.npy", &one);
    array("three.npy", &three);
    array("floats.npy", &(three.to_kind(Kind::Float) / 255.0));
    // Small differences as from compression, and a clear colour.
    let (almost, colour) = (three.copy(), three.copy());
    let _ = almost.get(7).get(0).g_add_scalar_(1);
    let _ = colour.get(7).get(0).fill_(255);
    array("almost.npy", &almost);
    array("colour.npy", &colour);
    let evaluate = |samples: &str, more: &str| {
        program(
            folder.path(),
            &format!(
                "evaluate --samples {samples} --data digits --metrics sliced-wasserstein --features pca --out out \
                 {more}"
            ),
        )
    };
    let value = |samples: &str, more: &str| {
        evaluate(samples, more).success();
        column(&at("out").join("metrics.csv"), "value")
    };
    let grey = value("grey", "");
    for (samples, more) in [
        ("rgb", ""),
        ("deep", ""),
        ("one.npy", ""),
        ("three.npy", ""),
        ("floats.npy", "--range 0,1"),
        ("almost.npy", ""),
    ] {
        assert_eq!(value(samples, more), grey, "{samples}");
    }
    for samples in ["colour", "colour.npy"] {
        let told = contains(format!("{samples} holds images in colour: samples of this data are grey"));
        evaluate(samples, "").failure().stderr(told);
    }
}

/// Some layers are initialised from the first batch, which may be one row.
#[test]
fn one_picture_is_enough_to_start_from() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("one")).unwrap();
    let picture = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * 7 + y * 11) as u8]));
    picture.save(folder.path().join("one/a.png")).unwrap();
    for (model, data, run) in [
        ("quick-flow", "digits --set batch_size=1", "a"),
        ("quick-flow", "folder:one", "b"),
        ("residual-flow", "digits --set batch_size=1", "c"),
        ("residual-flow", "folder:one", "d"),
    ] {
        let train = format!("train {model} --data {data} --budget 3steps --progress none --out {run}");
        program(folder.path(), &train).success();
        program(folder.path(), &format!("sample {run} -n 4 --out x.npy")).success();
    }
}

#[test]
fn a_vae_of_heavy_tails_has_finite_samples_at_every_temperature() {
    let folder = tempfile::tempdir().unwrap();
    let cauchy =
        |seed| -> Vec<f64> { normal(1000, seed).iter().zip(normal(1000, seed + 2)).map(|(a, b)| a / b).collect() };
    write_table(&folder.path().join("x.csv"), "a,b", &[cauchy(1), cauchy(2)]);
    let train = "train quick-vae --data csv:x.csv --budget 200steps --progress none --out run";
    program(folder.path(), train).success();
    for temperature in [1, 10, 100] {
        // Samples that are not finite are refused.
        let sample = format!("sample run -n 1000 --temperature {temperature} --out samples.csv");
        program(folder.path(), &sample).success();
        let x = column(&folder.path().join("samples.csv"), "a");
        assert!(x.len() == 1000 && x.iter().all(|x| x.is_finite()), "{temperature}");
    }
}
