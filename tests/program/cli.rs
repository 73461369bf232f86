//! The program from outside: commands, their output, and errors for bad input.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

fn r#gen() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("gen"));
    // With a cache of its own no test depends on files of the machine, or leaves any there.
    command.env("GEN_DATA", std::env::temp_dir().join("gen-tests-without-data"));
    command.timeout(std::time::Duration::from_secs(300));
    command
}

fn train(model: &str, data: &str, budget: &str, out: &Path) -> Command {
    let mut command = r#gen();
    command.args(["train", model, "--data", data, "--budget", budget, "--threads", "1", "--out"]).arg(out);
    command
}

/// An error is one line.
fn one_line() -> impl Predicate<str> {
    predicate::function(|text: &str| text.trim_end().lines().count() == 1)
}

/// Models of images and of points.
const MODELS: [&str; 9] =
    ["quick-gan", "quick-vae", "ae", "quick-flow", "nsf", "ffjord", "residual-flow", "tarflow", "quick-diffusion"];
const OF_POINTS: [&str; 3] = ["nsf-ar", "maf", "iaf"];
const OF_IMAGES: [&str; 2] = ["glow", "flow++"];
/// The models of papers that have one of the house beside them, which is trained here.
const PAPERS: [&str; 4] = ["realnvp", "ddpm", "edm", "rectified-flow"];

#[test]
fn list_names_every_model() {
    let names = r#gen().args(["list", "--names"]).assert().success().get_output().stdout.clone();
    let names = String::from_utf8(names).unwrap();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    let mut expected = [&MODELS[..], &OF_POINTS, &OF_IMAGES, &PAPERS].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn every_model_trains_on_digits_and_samples_from_its_folder_alone() {
    let temp = tempfile::tempdir().unwrap();
    for model in MODELS.into_iter().chain(OF_IMAGES) {
        let run = temp.path().join(model);
        train(model, "digits", "6steps", &run)
            .args(["--set", "batch_size=16", "--set", "log_every=2"])
            .assert()
            .success();
        let history = fs::read_to_string(run.join("history.csv")).unwrap();
        assert_eq!(history.lines().count(), 4, "{model}: {history}");
        assert!(history.starts_with("step,images_seen,seconds,cpu_seconds,images_per_second,lr_scale,rss_mib,loss_"));
        assert!(run.join("samples").read_dir().unwrap().count() > 0);

        // The folder has been moved, and there is no data set.
        let moved = temp.path().join(format!("{model}-moved"));
        fs::rename(&run, &moved).unwrap();
        let grids: Vec<Vec<u8>> = ["a.png", "b.png"]
            .map(|name| {
                let out = temp.path().join(name);
                r#gen()
                    .arg("sample")
                    .arg(&moved)
                    .args(["-n", "4", "--seed", "1", "--out"])
                    .arg(&out)
                    .assert()
                    .success();
                fs::read(out).unwrap()
            })
            .to_vec();
        assert_eq!(grids[0], grids[1], "{model}: the same seed gives the same picture");
        assert!(grids[0].starts_with(b"\x89PNG"));
    }
}

#[test]
fn samples_go_into_a_folder_or_an_array() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    train("quick-vae", "digits", "2steps", &run).assert().success();
    let sample = |out: &str| {
        let out = temp.path().join(out);
        r#gen().arg("sample").arg(&run).args(["-n", "11", "--out"]).arg(&out).assert().success();
        out
    };
    assert_eq!(fs::read_dir(sample("pictures")).unwrap().count(), 11);
    let array = fs::read(sample("x.npy")).unwrap();
    assert!(array.starts_with(b"\x93NUMPY"));
    let header = String::from_utf8_lossy(&array[..80]).replace(' ', "");
    assert!(header.contains("(11,1,8,8"), "{header}");
}

#[test]
fn many_samples_are_written_part_by_part() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    train("quick-vae", "moons", "2steps", &run).assert().success();
    let array = |n: usize| {
        let out = temp.path().join(format!("{n}.npy"));
        r#gen().arg("sample").arg(&run).args(["-n", &n.to_string(), "--out"]).arg(&out).assert().success();
        let bytes = fs::read(out).unwrap();
        assert_eq!(bytes.len(), 128 + n * 2 * 8);
        bytes[128..].to_vec()
    };
    let (thousand, more) = (array(1000), array(2300));
    assert_eq!(more[..thousand.len()], thousand);
    let rows: std::collections::BTreeSet<&[u8]> = more.chunks(16).collect();
    assert_eq!(rows.len(), 2300, "no part is drawn twice");
}

#[test]
fn points_are_trained_on_and_drawn() {
    let temp = tempfile::tempdir().unwrap();
    for model in MODELS.into_iter().chain(OF_POINTS) {
        let run = temp.path().join(model);
        train(model, "moons", "4steps", &run).assert().success();
        let out = temp.path().join("points.png");
        r#gen().arg("sample").arg(&run).args(["-n", "100", "--out"]).arg(&out).assert().success();
        assert!(out.is_file());
    }
}

#[test]
fn a_model_of_the_other_data_is_refused_in_one_line() {
    let temp = tempfile::tempdir().unwrap();
    for (model, data) in [("nsf-ar", "digits"), ("iaf", "digits"), ("glow", "moons"), ("flow++", "moons")] {
        let run = temp.path().join("run");
        let text = contains("is a model of").and(one_line());
        train(model, data, "1steps", &run).assert().failure().stderr(text);
        assert!(!run.join("history.csv").exists());
    }
}

#[test]
fn settings_come_from_files_and_flags() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("settings.toml");
    fs::write(&file, "[training]\nbatch_size = 32\nlog_every = 1\n").unwrap();
    let run = temp.path().join("run");
    train("quick-vae", "digits", "2steps", &run)
        .arg("--config")
        .arg(&file)
        .args(["--set", "training.batch_size=8", "--set", "pad=12"])
        .assert()
        .success();
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("batch_size = 8") && config.contains("log_every = 1") && config.contains("pad = 12"));
    assert!(config.contains("height = 12"));
}

#[test]
fn wrong_words_get_the_nearest_right_one() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    train("quick-gna", "digits", "1steps", &run)
        .assert()
        .code(1)
        .stderr(contains("unknown model `quick-gna`: did you mean `quick-gan`?").and(one_line()));
    train("quick-gan", "digit", "1steps", &run)
        .assert()
        .code(1)
        .stderr(contains("did you mean `digits`?").and(one_line()));
    train("quick-gan", "digits", "1steps", &run)
        .args(["--set", "batch_sise=3"])
        .assert()
        .code(1)
        .stderr(contains("unknown key `batch_sise`: did you mean `batch_size`?").and(one_line()));
    for budget in ["0s", "0steps", "soon", "-1m"] {
        train("quick-gan", "digits", budget, &run)
            .assert()
            .code(2)
            .stderr(contains("should be a positive number").and(one_line()));
    }
    assert!(!run.exists(), "nothing half-written is left");
}

#[test]
fn a_missing_run_folder_says_how_to_make_one() {
    let temp = tempfile::tempdir().unwrap();
    r#gen()
        .args(["train", "quick-vae"])
        .assert()
        .code(2)
        .stderr(contains("--data <DATA> --budget <BUDGET>").and(one_line()));
    for command in ["sample", "evaluate"] {
        let mut command_line = r#gen();
        command_line.arg(command).arg(temp.path().join("nowhere"));
        if command == "sample" {
            command_line.arg("--out").arg(temp.path().join("x.png"));
        }
        command_line.assert().code(1).stderr(contains("there is no run in").and(contains("gen train")).and(one_line()));
    }
    assert!(!temp.path().join("x.png").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_one_line() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "in the way").unwrap();
    train("quick-vae", "digits", "1steps", &file.join("run")).assert().code(1).stderr(one_line());
}

#[test]
fn a_used_folder_is_not_written_over() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    train("quick-vae", "digits", "1steps", &run).assert().success();
    train("quick-vae", "digits", "1steps", &run).assert().code(1).stderr(contains("--resume"));
    train("quick-vae", "digits", "1steps", &run)
        .args(["--resume", "--seed", "1"])
        .assert()
        .code(1)
        .stderr(contains("started with other settings: seed was \"0\", now \"1\""));
}

#[test]
fn the_best_weights_are_kept_beside_the_latest() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    // The learning rate is so large that the first weights are the best.
    let settings = ["warmup_steps=0", "optimizer.learning_rate=0.05", "ema_decay=0", "validation_rows=20"];
    let mut command = train("quick-vae", "digits", "20steps", &run);
    for setting in settings.iter().chain(&["batch_size=8", "schedule=\"constant\"", "network=\"mlp\"", "widths=[32]"]) {
        command.args(["--set", setting]);
    }
    command.assert().success();
    let text = fs::read_to_string(run.join("validation.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(text.lines().next().unwrap(), "step,images_seen,seconds,validation_seconds,objective,n_validation,loss");
    let documented = gen_report::COLUMNS.lines().filter_map(|line| line.strip_prefix("*/validation.csv,"));
    let documented: Vec<&str> = documented.map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(documented, rows[0]);
    assert_eq!((rows.len(), rows[1][4], rows[1][5]), (11, "nll-lower-bound", "20"));
    let loss = |row: &Vec<&str>| row[6].parse::<f64>().unwrap();
    let best = rows[1..].iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap();
    let manifest = fs::read_to_string(run.join("checkpoint/best/checkpoint.toml")).unwrap();
    assert!(manifest.contains(&format!("[best]\nstep = {}\n", best[0])), "{manifest}");
    assert_ne!(best[0], "20", "{text}");

    let sample = |best: bool| {
        let out = temp.path().join(format!("{best}.npy"));
        let mut command = r#gen();
        command.arg("sample").arg(&run).args(["-n", "3", "--out"]).arg(&out);
        if best {
            command.arg("--best");
        }
        command.assert().success();
        fs::read(out).unwrap()
    };
    assert_ne!(sample(true), sample(false));
    r#gen().arg("evaluate").arg(&run).args(["-n", "50", "--n-bound", "9", "--best"]).assert().success();
    let row = fs::read_to_string(run.join("evaluation.csv")).unwrap();
    assert!(row.contains(",raw-best,") && row.contains(&format!(",{},", best[0])), "{row}");

    // Damaged weights are reported and not used.
    fs::write(run.join("checkpoint/best/weights.safetensors"), "x").unwrap();
    let out = temp.path().join("x.png");
    let mut damaged = r#gen();
    damaged.arg("sample").arg(&run).arg("--best").arg("--out").arg(&out);
    damaged.assert().code(1).stderr(contains("not a whole checkpoint file").and(one_line()));
}

#[test]
fn a_model_without_a_loss_for_it_has_no_best_weights() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    train("quick-gan", "moons", "2steps", &run).assert().success();
    assert!(!run.join("validation.csv").exists() && !run.join("checkpoint/best").exists());
    let mut sample = r#gen();
    sample.arg("sample").arg(&run).arg("--best").arg("--out").arg(temp.path().join("x.png"));
    sample.assert().code(1).stderr(contains("has no best weights: its `validation_rows` is 0").and(one_line()));
    train("quick-gan", "moons", "2steps", &temp.path().join("other"))
        .args(["--set", "validation_rows=9"])
        .assert()
        .code(1)
        .stderr(contains("`quick-gan` has no validation loss: set `validation_rows` to 0").and(one_line()));
}

#[test]
fn sampling_options_that_a_model_lacks_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    train("quick-vae", "digits", "1steps", &run).assert().success();
    let sample = |arguments: &[&str], out: &str| {
        let mut command = r#gen();
        command.arg("sample").arg(&run).args(arguments).arg("--out").arg(temp.path().join(out));
        command
    };
    sample(&["--steps", "5"], "x.png")
        .assert()
        .code(1)
        .stderr(contains("unknown key `steps`: there are noise, temperature"));
    let kinds = "--out takes .png, .jpg, .webp, .gif, .npy or a folder";
    sample(&[], "x.pdf").assert().code(1).stderr(contains(kinds));
    sample(&["-n", "0"], "x.png").assert().code(2);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn bench_answers_each_request_with_a_line() {
    let temp = tempfile::tempdir().unwrap();
    let exported = temp.path().join("step");
    let requests = format!("train 2\nsample 3\nexport {}\ntrain -1\njump\nquit\n", exported.display());
    let output = r#gen()
        .args(["bench", "quick-vae", "--data", "digits", "--threads", "1", "--set", "batch_size=16"])
        .write_stdin(requests)
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let output = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 6, "{output}");
    assert!(lines[0].contains("\"batch_size\":16") && lines[0].contains("\"threads\":1"), "{output}");
    for line in &lines[1..3] {
        assert!(line.contains("\"seconds\":") && line.contains("\"cpu_seconds\":"), "{output}");
    }
    assert!(lines[4].contains("takes a positive number, found `-1`"), "{output}");
    assert!(lines[5].contains("error") && lines[5].contains("`jump`"), "{output}");
    for file in ["before.safetensors", "after.safetensors", "data.safetensors", "step.json"] {
        assert!(exported.join(file).is_file(), "{file}");
    }
}
