//! `gen compare` through the real program, with run folders written by hand.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shared::{one_line, program};
use predicates::prelude::*;
use predicates::str::{contains, starts_with};

fn compare(runs: &[&Path], out: &Path) -> assert_cmd::assert::Assert {
    program().arg("compare").args(runs).arg("--out").arg(out).assert()
}

/// A folder in the form of `gen evaluate`: distances in two spaces, and a coverage.
fn run(folder: &Path, family: &str, model: &str, distances: [f64; 2]) -> PathBuf {
    fs::create_dir_all(folder.join("samples")).unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    let evaluation = format!(
        "run,family,model,dataset,seed,n_fake,feature_space,fd,fd_floor,coverage,sample_images_per_second\n\
         {name},{family},{model},digits,0,359,classifier:digits,{},0.5,0.8,100\n",
        distances[0]
    );
    fs::write(folder.join("evaluation.csv"), evaluation).unwrap();
    let mut metrics =
        "run,metric,space,parameter,value,standard_error,floor,n_real,n_fake,direction,target\n".to_owned();
    for (space, distance) in ["classifier:digits", "random-64"].into_iter().zip(distances) {
        metrics += &format!("{name},fd,{space},,{distance},0.1,0.5,359,359,lower,\n");
    }
    metrics += &format!("{name},coverage,classifier:digits,k=5,0.8,0.01,0.97,359,359,higher,\n");
    fs::write(folder.join("metrics.csv"), metrics).unwrap();
    folder.to_owned()
}

fn rows(path: &Path) -> Vec<csv::StringRecord> {
    csv::Reader::from_path(path).unwrap().records().map(Result::unwrap).collect()
}

#[test]
fn runs_from_any_folders_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let vae = run(&at("mine/vae-digits-s0"), "vae", "vae", [3.0, 9.0]);
    let ddpm = run(&at("theirs/ddpm-digits-s0"), "diffusion", "ddpm", [3.1, 5.0]);
    let foreign = run(&at("foreign"), "samples", "my-model", [7.0, 20.0]);
    let floor = run(&at("mine/reference-floor"), "reference", "floor", [0.5, 0.6]);
    let failed = at("mine/realnvp-digits-s0");
    fs::create_dir_all(&failed).unwrap();
    fs::write(failed.join("error.txt"), "the loss is NaN\n").unwrap();
    let out = at("new/comparison");

    let shown = compare(&[&vae, &ddpm, &foreign, &floor, &failed], &out).success();
    shown.stdout(contains("my-model").and(contains("realnvp-digits-s0: the loss is NaN")).and(contains("report.html")));

    let mut written: Vec<String> =
        fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    written.sort();
    let files = [
        "columns.csv",
        "figures",
        "history.csv",
        "metrics.csv",
        "models.csv",
        "report.html",
        "runs.csv",
        "summary.csv",
        "summary.md",
    ];
    assert_eq!(written, files);
    for figure in ["quality-speed.svg", "quality-speed.png", "rank-agreement.svg", "rank-agreement.png"] {
        assert!(out.join("figures").join(figure).is_file(), "{figure}");
    }
    assert_eq!(rows(&out.join("runs.csv")).len(), 5);
    assert_eq!(rows(&out.join("metrics.csv")).len(), 4 * 3);
    // 0.1 apart with standard errors of 0.1: a tie in the first space, but not in the second.
    let models = fs::read_to_string(out.join("models.csv")).unwrap();
    for row in [
        "vae,vae,digits,,,,,fd,classifier:digits,,3,0.1,3,3,1,0,0.5,lower,,1,true",
        "diffusion,ddpm,digits,,,,,fd,classifier:digits,,3.1,0.1,3.1,3.1,1,0,0.5,lower,,2,true",
        "samples,my-model,digits,,,,,fd,classifier:digits,,7,0.1,7,7,1,0,0.5,lower,,3,false",
        "diffusion,ddpm,digits,,,,,fd,random-64,,5,0.1,5,5,1,0,0.5,lower,,1,false",
        "reference,floor,digits,,,,,fd,classifier:digits,,0.5,0.1,0.5,0.5,1,0,0.5,lower,,,",
    ] {
        assert!(models.lines().any(|line| line == row), "{row}\n{models}");
    }
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("vae and ddpm make the best samples (a tie; FD 3.00, floor 0.500"), "{page}");
    // The runs stay as they are.
    assert!(!vae.join("report.html").exists() && !vae.join("figures").exists());
}

#[test]
fn incomparable_runs_are_one_line_of_error() {
    let folder = tempfile::tempdir().unwrap();
    let vae = run(&folder.path().join("vae-digits-s0"), "vae", "vae", [3.0, 9.0]);
    let out = folder.path().join("out");
    let fails = |runs: &[&Path], out: &Path, why: &str| {
        compare(runs, out).failure().stderr(starts_with("gen: ").and(contains(why)).and(one_line()));
    };
    fails(&[&vae, &folder.path().join("nothing")], &out, "cannot read");
    fails(&[folder.path()], &out, "is no run folder: it should have an evaluation.csv");
    fails(&[&vae], &vae, "is a run folder: the report would replace files of the run");
    fails(&[], &out, "required arguments were not provided: <RUN>");
    let moons = folder.path().join("moons");
    fs::create_dir(&moons).unwrap();
    fs::write(moons.join("evaluation.csv"), "model,family,dataset\nvae,vae,moons\n").unwrap();
    fails(&[&vae, &moons], &out, "runs of different data cannot be compared");
    assert!(!out.exists());
}
