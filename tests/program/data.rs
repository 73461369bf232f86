//! `gen data` through the real program, without a network.

use std::fs;
use std::path::Path;

use crate::shared::{one_line, run_in};
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;

/// `gen data` with an empty cache in `folder`.
fn data(folder: &Path, arguments: &str) -> Assert {
    run_in(folder, &format!("data {arguments}"), &[])
}

/// Checks that the command fails in one line with this text.
fn fails(folder: &Path, arguments: &str, expected: &str) {
    let told = contains(expected).and(one_line()).and(contains("panicked").not());
    data(folder, arguments).failure().code(1).stderr(told);
}

#[test]
fn the_list_has_manifests_and_data_by_formula() {
    let folder = tempfile::tempdir().unwrap();
    let output = data(folder.path(), "list").success().get_output().clone();
    let lines = String::from_utf8(output.stdout).unwrap();
    for (name, here) in [("digits", "built in"), ("fashion-mnist", "no"), ("cifar10", "no"), ("moons", "by formula")] {
        let line = lines.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.ends_with(here), "{line}");
    }
}

#[test]
fn built_in_sets_need_no_cache() {
    let folder = tempfile::tempdir().unwrap();
    for (name, size) in [("digits", (274, 274)), ("moons", (480, 480))] {
        data(folder.path(), &format!("preview {name} --out grid.png")).success();
        assert_eq!(image::image_dimensions(folder.path().join("grid.png")).unwrap(), size);
    }
    data(folder.path(), "fetch digits").success().stdout(contains("nothing to fetch"));
    data(folder.path(), "verify digits").success().stdout(contains("train-images  good"));
    assert!(!folder.path().join("cache").exists());
}

#[test]
fn damaged_and_absent_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache/mnist");
    fs::create_dir_all(&cache).unwrap();
    for name in ["train-images", "train-labels", "t10k-images", "t10k-labels"] {
        let dimensions = if name.ends_with("images") { 3 } else { 1 };
        fs::write(cache.join(format!("{name}-idx{dimensions}-ubyte")), "cut off").unwrap();
    }
    fails(
        folder.path(),
        "preview mnist --out grid.png",
        "train-images-idx3-ubyte: the file is damaged: it has 7 bytes, expected 47040016",
    );
    assert!(!folder.path().join("grid.png").exists());
    fails(folder.path(), "verify mnist", "`gen data fetch mnist` gets them");
    fails(folder.path(), "verify kmnist", "4 of 4 files of `kmnist`");
}

#[test]
fn unknown_names_suggest_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    for action in ["fetch", "verify"] {
        fails(folder.path(), &format!("{action} fashion-mnits"), "did you mean `fashion-mnist`?");
    }
    fails(folder.path(), "preview mons --out x.png", "did you mean `moons`?");
}

#[test]
fn broken_pictures_are_left_out_unless_all_are_broken() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    fs::write(pictures.join("broken.png"), "not a picture").unwrap();
    let preview = "preview folder:pictures --out grid.png";
    fails(folder.path(), preview, "none of its 1 images can be read: broken.png");
    for i in 0..10u8 {
        image::GrayImage::from_pixel(8, 8, image::Luma([20 * i])).save(pictures.join(format!("{i}.png"))).unwrap();
    }
    data(folder.path(), preview).success().stderr(contains("left out 1 of 11 images: broken.png"));
    assert!(folder.path().join("grid.png").exists());
}

#[test]
fn bad_tables_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.csv"), "a,b\n1,2\n3,four\n").unwrap();
    fs::write(folder.path().join("x.npy"), "not an array").unwrap();
    let preview = |name: &str, expected: &str| {
        fails(folder.path(), &format!("preview {name} --out grid.png"), expected);
    };
    preview("csv:x.csv", "line 3, column 2 (`b`): `four` is not a finite number");
    preview("npy:x.npy", "not a .npy file");
    preview("csv:y.csv", "y.csv: No such file");
}
