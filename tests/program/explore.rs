//! The commands that show a trained model, through the real program.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::shared::{one_line, program, train};
use assert_cmd::assert::Assert;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

/// Small runs on digits and on moons, trained once for all tests.
static RUNS: LazyLock<TempDir> = LazyLock::new(|| {
    let runs = [
        ("quick-gan", "digits", "generator_width=8"),
        ("quick-vae", "digits", "widths=[8]"),
        ("ae", "digits", "widths=[8]"),
        ("quick-flow", "digits", "width=8"),
        ("quick-diffusion", "digits", "sampling.sampler.steps=5"),
        ("quick-gan", "moons", "generator_width=16"),
        ("quick-vae", "moons", "widths=[16]"),
        ("quick-flow", "moons", "couplings=2"),
        ("quick-diffusion", "moons", "sampling.sampler.steps=5"),
    ];
    let options = runs.map(|(_, _, set)| format!("--budget 10steps --set batch_size=32 --set {set}"));
    let runs: Vec<_> =
        runs.iter().zip(&options).map(|((model, data, _), options)| (*model, *data, options.as_str())).collect();
    train(&runs)
});

struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Scratch(tempfile::tempdir().unwrap())
    }

    /// Runs `gen <command> <run> <arguments> --out <file>`; returns the path of the file and the result.
    fn run(&self, command: &str, run: &str, arguments: &str, file: &str) -> (PathBuf, Assert) {
        let out = self.0.path().join(file);
        let mut started = program();
        started.arg(command).arg(RUNS.path().join(run)).args(arguments.split_whitespace());
        let assert = started.args(["--threads", "1", "--out"]).arg(&out).assert();
        (out, assert)
    }

    /// Draws a picture, and returns its size.
    fn picture(&self, command: &str, run: &str, arguments: &str, file: &str) -> (u32, u32) {
        let (out, assert) = self.run(command, run, arguments, file);
        assert.success();
        let picture = image::open(&out).unwrap().into_rgb8();
        let first = *picture.get_pixel(0, 0);
        assert!(picture.pixels().any(|pixel| *pixel != first), "{file} is one colour");
        picture.dimensions()
    }

    /// Checks that the command fails in one line with `message`, and writes nothing.
    fn refuses(&self, command: &str, run: &str, arguments: &str, file: &str, message: &str) {
        let (out, assert) = self.run(command, run, arguments, file);
        assert.failure().stderr(contains(message).and(one_line()).and(contains("panicked").not()));
        assert!(!out.exists());
    }
}

/// The number of frames of an animation.
fn frames(path: &Path) -> usize {
    use image::AnimationDecoder;
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    image::codecs::gif::GifDecoder::new(file).unwrap().into_frames().collect_frames().unwrap().len()
}

fn table(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    (header, rows)
}

#[test]
fn interpolations() {
    let scratch = Scratch::new();
    // Tiles of 48 pixels with gaps of 2.
    for model in ["quick-gan", "quick-vae", "ae", "quick-flow", "quick-diffusion"] {
        let run = format!("{model}-digits");
        let size = scratch.picture("interpolate", &run, "--rows 3 --steps 5", &format!("{model}.png"));
        assert_eq!(size, (5 * 50 + 2, 3 * 50 + 2), "{model}");
    }
    for model in ["quick-vae", "ae", "quick-flow", "quick-diffusion"] {
        let run = format!("{model}-digits");
        let arguments = "--between 0,1 --between 2,3 --steps 4";
        let size = scratch.picture("interpolate", &run, arguments, &format!("{model}-between.png"));
        // The test images stand apart at both ends.
        assert_eq!(size, (4 * 50 + 2 + 2 * 58, 2 * 50 + 2), "{model}");
    }
    scratch.picture("interpolate", "quick-flow-moons", "--rows 3", "moons.png");
    let (gif, done) = scratch.run("interpolate", "quick-vae-digits", "--rows 4 --steps 6", "x.gif");
    done.success().stderr(contains("4 interpolations of 6 steps"));
    assert_eq!(frames(&gif), 10);
    let (gif, done) = scratch.run("interpolate", "quick-vae-moons", "--between 5,9 --steps 3", "y.gif");
    done.success();
    assert_eq!(frames(&gif), 4);

    let same = |file: &str, arguments: &str| {
        let (out, done) = scratch.run("interpolate", "quick-gan-digits", arguments, file);
        done.success();
        std::fs::read(out).unwrap()
    };
    assert_eq!(same("a.png", "--seed 1"), same("b.png", "--seed 1"));
    assert_ne!(same("a.png", "--seed 1"), same("b.png", "--seed 2"));

    let refuses = |run, arguments, file, message| scratch.refuses("interpolate", run, arguments, file, message);
    refuses("quick-gan-digits", "--between 1,2", "x.png", "`quick-gan` has no encoder");
    refuses("quick-vae-digits", "--between 1,99999", "x.png", "test rows, numbered from 0: there is no row 99999");
    refuses("quick-vae-digits", "--between 1", "x.png", "two row numbers with a comma between");
    refuses("quick-vae-digits", "", "x.bmp", "--out takes .png, .jpg, .webp or .gif");
    refuses("quick-gan-digits", "--best", "x.png", "has no best weights");
    refuses("nothing", "", "x.png", "there is no run in");
}

#[test]
fn trajectories() {
    let scratch = Scratch::new();
    let (_, height) = scratch.picture("trajectory", "quick-diffusion-digits", "-n 2 --frames 4", "quick-diffusion.png");
    // Two rows for each sample, the second with the estimates, and labels above.
    assert_eq!(height, 22 + 2 * (2 * 50 + 8));
    let (width, _) = scratch.picture("trajectory", "quick-flow-digits", "-n 2 --frames 3", "quick-flow.png");
    assert!(width >= 3 * 50);
    for run in ["quick-diffusion-moons", "quick-flow-moons"] {
        scratch.picture("trajectory", run, "--frames 4", &format!("{run}.png"));
    }
    let arguments = "--frames 30 --sampler ancestral --steps 7 -n 4";
    let (gif, done) = scratch.run("trajectory", "quick-diffusion-digits", arguments, "x.gif");
    done.success().stderr(contains("4 samples in 8 moments"));
    assert_eq!(frames(&gif), 8);
    let refuses = |run, arguments, message| scratch.refuses("trajectory", run, arguments, "x.png", message);
    refuses("quick-gan-digits", "", "`quick-gan` makes a sample in one pass");
    refuses("quick-vae-moons", "", "`quick-vae` makes a sample in one pass");
    refuses("quick-diffusion-digits", "--sampler ddmi", "did you mean `sampler=ddim`?");
    refuses("quick-flow-digits", "--steps 3", "unknown key `steps`: there are temperature");
    refuses("quick-diffusion-digits", "-n 100", "up to 64 images");
}

#[test]
fn maps_of_latent_spaces() {
    let scratch = Scratch::new();
    let both = scratch.picture("latent", "quick-vae-digits", "-n 200", "both.png");
    let one = scratch.picture("latent", "quick-vae-digits", "-n 200 --method pca", "pca.png");
    assert!(both.0 > one.0 + 400 && both.1 == one.1, "{both:?} {one:?}");
    for run in ["ae-digits", "quick-diffusion-digits", "quick-flow-moons", "quick-vae-moons"] {
        scratch.picture("latent", run, "-n 60 --method pca", &format!("{run}.png"));
    }
    // A GAN has no encoder, so a classifier gives the classes of its samples.
    let (out, done) = scratch.run("latent", "quick-gan-digits", "-n 50 --method both", "gan.csv");
    done.success().stderr(contains("classes by a classifier"));
    let (header, rows) = table(&out);
    assert_eq!(header, ["index", "class", "pca_1", "pca_2", "tsne_1", "tsne_2"]);
    assert_eq!(rows.len(), 50);
    assert!(rows.iter().all(|row| !row[1].is_empty() && row[2..].iter().all(|value| value.parse::<f64>().is_ok())));
    let (out, done) = scratch.run("latent", "quick-flow-moons", "-n 20 --method pca", "moons.csv");
    done.success();
    let (header, rows) = table(&out);
    assert_eq!(header, ["index", "class", "pca_1", "pca_2"]);
    assert!(rows.iter().all(|row| row[1].is_empty()));
    scratch.refuses("latent", "quick-gan-moons", "", "x.png", "there is no classifier of `moons`");
    scratch.refuses("latent", "quick-vae-digits", "", "x.npy", "--out takes .png, .jpg, .webp, .gif or .csv");
}

#[test]
fn densities() {
    let scratch = Scratch::new();
    for (run, kind) in
        [("quick-flow-moons", "exact"), ("quick-vae-moons", "importance-64"), ("quick-diffusion-moons", "ode")]
    {
        let (out, done) = scratch.run("density", run, "--grid 20 --range -6,6", &format!("{run}.png"));
        done.success().stderr(contains(format!("log-density ({kind}) at 20 x 20 points")));
        assert!(image::open(out).unwrap().width() > 800);
    }
    let (out, done) = scratch.run("density", "quick-vae-moons", "--kind lower-bound --grid 3 --range -3,3", "x.csv");
    done.success();
    let (header, rows) = table(&out);
    assert_eq!(header, ["x", "y", "log_density_nats"]);
    let places: Vec<&[String]> = rows.iter().map(|row| &row[..2]).collect();
    assert_eq!(places[..4], [["-2", "-2"], ["0", "-2"], ["2", "-2"], ["-2", "0"]]);
    let (out, done) = scratch.run("density", "quick-flow-moons", "--grid 5", "x.npy");
    done.success();
    let array = std::fs::read(out).unwrap();
    assert!(array.starts_with(b"\x93NUMPY") && array.len() == 128 + 25 * 8);
    let refuses = |run, arguments, message| scratch.refuses("density", run, arguments, "x.png", message);
    refuses("quick-gan-moons", "", "`quick-gan` gives no likelihood to data");
    refuses("quick-vae-digits", "", "a density is drawn of numbers or of points in the plane");
    refuses("quick-flow-moons", "--kind ode", "has the likelihood `exact`");
    refuses("quick-flow-moons", "--range 4,-4", "two numbers, the lower first");
    scratch.refuses("density", "quick-flow-moons", "", "x.txt", "--out takes .png, .jpg, .webp, .gif, .npy or .csv");
}

#[test]
fn nearest_training_images() {
    let scratch = Scratch::new();
    let (out, done) = scratch.run("nearest", "quick-vae-digits", "-n 4 --k 3", "x.png");
    done.success().stdout(contains("classifier:digits")).stderr(contains("the nearest of 1"));
    assert!(image::open(out).unwrap().height() > 4 * 48);
    scratch.picture("nearest", "quick-gan-digits", "-n 12 --features pca", "pca.png");
    let (out, done) =
        scratch.run("nearest", "quick-diffusion-digits", "-n 2 --k 4 --features pixels --steps 3", "x.csv");
    done.success();
    let (header, rows) = table(&out);
    assert_eq!(header, ["sample", "rank", "train_index", "distance", "space"]);
    assert_eq!(rows.len(), 8);
    let distances: Vec<f64> = rows.iter().map(|row| row[3].parse().unwrap()).collect();
    assert!(distances[..4].is_sorted() && distances[4..].is_sorted() && distances[0] > 0.0, "{distances:?}");
    let refuses = |run, arguments, message| scratch.refuses("nearest", run, arguments, "none.png", message);
    refuses("quick-vae-moons", "", "is a model of points");
    refuses("quick-vae-digits", "--data moons", "`moons` has Points");
    refuses("quick-vae-digits", "--data digist", "did you mean `digits`?");
    refuses("quick-vae-digits", "--features nothing.safetensors", "nothing.safetensors");
}
