//! The option `--out`: the extension decides the format, and outputs that cannot be written are refused before any
//! work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::shared::{one_line, program, train};
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

/// Runs of images and of points.
static RUNS: LazyLock<TempDir> = LazyLock::new(|| {
    let options = "--budget 3steps --set batch_size=16";
    train(&[("quick-vae", "digits", options), ("quick-diffusion", "moons", options), ("quick-flow", "moons", options)])
});

fn run(command: &str, run: &str, arguments: &[&str], out: &Path) -> Assert {
    program()
        .arg(command)
        .arg(RUNS.path().join(run))
        .args(arguments)
        .args(["--threads", "1", "--out"])
        .arg(out)
        .assert()
}

fn magic(path: &Path) -> &'static str {
    let bytes = fs::read(path).unwrap();
    let kinds: [(&[u8], &str); 5] =
        [(b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"\x93NUMPY", "npy")];
    kinds.iter().find(|(magic, _)| bytes.starts_with(magic)).map_or("other", |(_, kind)| *kind)
}

#[test]
fn the_extension_decides_the_format_of_pictures() {
    let temp = tempfile::tempdir().unwrap();
    let commands: [(&str, &str, &[&str]); 6] = [
        ("sample", "quick-vae-digits", &["-n", "4"]),
        ("interpolate", "quick-vae-digits", &["--steps", "3"]),
        ("latent", "quick-vae-digits", &["-n", "20", "--method", "pca"]),
        ("nearest", "quick-vae-digits", &["-n", "2", "--features", "pixels"]),
        ("trajectory", "quick-diffusion-moons", &["--frames", "3", "--steps", "4"]),
        ("density", "quick-flow-moons", &["--grid", "9"]),
    ];
    for (command, name, arguments) in commands {
        for (file, kind) in
            [("a.PNG", "png"), ("a.jpg", "jpg"), ("a.JPEG", "jpg"), ("a.webp", "webp"), ("a.gif", "gif")]
        {
            let out = temp.path().join(file);
            run(command, name, arguments, &out).success();
            assert_eq!(magic(&out), kind, "{command} {file}");
            image::open(&out).unwrap();
        }
        for file in ["x.pdf", "x.jpgg", "x.txt"] {
            let out = temp.path().join(file);
            let told = run(command, name, arguments, &out).failure();
            told.stderr(contains("--out takes .png, .jpg, .webp").and(contains(file)).and(one_line()));
            assert!(!out.exists());
        }
    }
    for (file, kind) in [("p.jpg", "jpg"), ("p.PNG", "png"), ("p.gif", "gif"), ("p.webp", "webp")] {
        let out = temp.path().join(file);
        program().args(["data", "preview", "digits", "--out"]).arg(&out).assert().success();
        assert_eq!(magic(&out), kind);
    }
    let preview = program().args(["data", "preview", "digits", "--out", "x.pdf"]).assert();
    preview.failure().stderr(contains("--out takes .png, .jpg, .webp or .gif, found x.pdf").and(one_line()));
}

#[test]
fn folders_may_have_any_name() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("have.dir")).unwrap();
    for folder in ["v1.5", "have.dir", "plain", "new.folder/"] {
        let out = temp.path().join(folder);
        run("sample", "quick-vae-digits", &["-n", "3"], &out).success();
        assert_eq!(fs::read_dir(&out).unwrap().count(), 3, "{folder}");
    }
    let told = run("sample", "quick-diffusion-moons", &["-n", "3"], &temp.path().join("v1.5")).failure();
    told.stderr(contains("--out takes .png").and(contains("found the folder")).and(one_line()));
}

#[test]
fn outputs_that_cannot_be_written_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    let below: PathBuf = temp.path().join("file/below/x.png");
    for (command, name) in [
        ("sample", "quick-vae-digits"),
        ("density", "quick-diffusion-moons"),
        ("ood --against", "quick-diffusion-moons"),
    ] {
        let (command, arguments) = match command.split_once(' ') {
            Some((command, option)) => (command, vec![option, "circles"]),
            None => (command, vec![]),
        };
        let told = run(command, name, &arguments, &below).failure();
        told.stderr(contains("file is a file: there can be no folder").and(one_line()));
    }
    // A missing folder is made.
    let deep = temp.path().join("a/b/c/x.png");
    run("sample", "quick-vae-digits", &["-n", "2"], &deep).success();
    assert!(deep.is_file());
}

#[test]
fn an_error_of_a_number_states_its_range() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("x.png");
    for (arguments, told) in [
        (&["--seed", "-1"][..], "a seed is a whole number from 0 to 18446744073709551615"),
        (&["--seed", "1.5"], "a seed is a whole number from 0"),
        (&["--steps", "-3"], "a whole number from 1 to"),
        (&["--temperature", "-1"], "a temperature is a number from 0 up"),
        (&["--temperature", "nan"], "a temperature is a number from 0 up"),
        (&["-n", "-4"], "-4 is not in 1.."),
        (&["--threads", "-2"], "--threads takes 0 or more, found -2"),
    ] {
        let mut command = program();
        command.arg("sample").arg(RUNS.path().join("quick-diffusion-moons")).args(arguments).arg("--out").arg(&out);
        command.assert().failure().stderr(contains(told).and(contains("-- -").not()).and(one_line()));
    }
    let mut train = program();
    train.args(["train", "quick-vae", "--data", "moons", "--budget", "1steps", "--seed", "-1", "--out"]).arg(&out);
    train.assert().code(2).stderr(contains("a seed is a whole number from 0").and(one_line()));
    assert!(!out.exists());
}

#[test]
fn samples_are_finite_or_refused() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("x.npy");
    let told = run("sample", "quick-flow-moons", &["--temperature", "1e38"], &out).failure();
    told.stderr(contains("samples hold infinity or NaN; a temperature of").and(one_line()));
    assert!(!out.exists());
}
