//! No work is lost: runs that fail at the start, that continue elsewhere or with a longer budget, or that a signal
//! stops.
#![cfg(unix)]
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use crate::shared::{PROGRAM, column, one_line, run_in, send, stderr, wait_until, words};
use assert_cmd::Command;
use assert_cmd::assert::Assert;
use nix::sys::signal::Signal;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

/// Writes a table without a header.
fn table(path: &Path, columns: usize, rows: usize) {
    let mut text = String::new();
    for row in 0..rows {
        let cells: Vec<String> = (0..columns)
            .map(|column| (((row * 7 + column * 13) as f64 * 0.37 + 0.1).sin() * (1.0 + column as f64)).to_string())
            .collect();
        writeln!(text, "{}", cells.join(",")).unwrap();
    }
    fs::write(path, text).unwrap();
}

fn config(run: &Path) -> toml::Table {
    toml::from_str(&fs::read_to_string(run.join("config.toml")).unwrap()).unwrap()
}

#[test]
fn a_table_of_one_column_trains_to_its_end_and_has_pictures() {
    let temp = tempfile::tempdir().unwrap();
    let (csv, run) = (temp.path().join("one.csv"), temp.path().join("run"));
    table(&csv, 1, 300);
    let train = "train maf --data csv:{} --budget 20steps --out {} --set validation_rows=9";
    run_in(temp.path(), train, &[&csv, &run]).success().stderr(contains("warning").not());
    assert_eq!(fs::read_dir(run.join("samples")).unwrap().count(), 10);
    let picture = image::open(run.join("samples/step-0000020.png")).unwrap().into_rgb8();
    let colours: std::collections::HashSet<_> = picture.pixels().collect();
    assert!(picture.width() > 600 && colours.len() > 4, "two histograms, each in its colour");
    run_in(temp.path(), &format!("{train} --resume"), &[&csv, &run]).success();

    for out in ["grid.png", "grid.JPG", "x.npy"] {
        let out = temp.path().join(out);
        run_in(temp.path(), "sample {} --out {}", &[&run, &out]).success();
        assert!(out.is_file());
    }
    for (command, out) in [
        ("density", "density.png"),
        ("density", "density.csv"),
        ("latent -n 20", "latent.png"),
        ("interpolate", "way.png"),
        ("interpolate --steps 3", "way.gif"),
        ("interpolate --between 1,2", "between.png"),
        ("trajectory", "path.png"),
    ] {
        let out = temp.path().join(out);
        run_in(temp.path(), &format!("{command} {{}} --out {{}}"), &[&run, &out]).success();
        assert!(out.is_file(), "{command}");
    }
    let density = fs::read_to_string(temp.path().join("density.csv")).unwrap();
    assert!(density.starts_with("x,log_density_nats\n") && density.lines().count() == 201);
    let preview = temp.path().join("preview.webp");
    run_in(temp.path(), "data preview csv:{} --out {}", &[&csv, &preview]).success();
}

#[test]
fn tables_of_any_width_are_trained_on_and_drawn() {
    let temp = tempfile::tempdir().unwrap();
    for columns in [2, 3, 200] {
        let (csv, run) = (temp.path().join("x.csv"), temp.path().join(columns.to_string()));
        table(&csv, columns, 60);
        let train = "train quick-vae --data csv:{} --budget 4steps --set batch_size=16 --out {}";
        run_in(temp.path(), train, &[&csv, &run]).success().stderr(contains("warning").not());
        let out = temp.path().join("x.png");
        for command in ["sample", "latent -n 10", "interpolate"] {
            run_in(temp.path(), &format!("{command} {{}} --out {{}}"), &[&run, &out]).success();
        }
        let density = run_in(temp.path(), "density {} --out {} --grid 9", &[&run, &out]);
        if columns == 2 {
            density.success();
        } else {
            density.failure().stderr(contains("numbers or of points in the plane").and(one_line()));
        }
    }
}

#[test]
fn a_picture_that_fails_does_not_cost_a_run() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    fs::create_dir(&run).unwrap();
    // A file is in the place of the folder of pictures.
    fs::write(run.join("samples"), "in the way").unwrap();
    let train = "train quick-vae --data moons --budget 10steps --set validation_rows=9 --out {}";
    let told = run_in(temp.path(), train, &[&run]).success();
    told.stderr(contains("warning: there is no picture of step 10, training goes on: "));
    assert!(run.join("checkpoint/latest/weights.safetensors").is_file());
}

#[test]
fn a_failed_start_leaves_the_folder_free() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let start = |set: &str| {
        let train = format!("train quick-vae --data digits --budget 50steps --out {{}} --set batch_size=8 --set {set}");
        run_in(temp.path(), &train, &[&run])
    };
    start("batch_size=0").failure().stderr(contains("`batch_size`").and(one_line()));
    assert!(!run.exists(), "what is wrong is found before the folder is made");
    // This one fails at its second step; the first checkpoint would follow the fifth.
    start("optimizer.learning_rate=1e30").failure().stderr(contains("there is no checkpoint yet"));
    assert!(run.join("config.toml").exists() && !run.join("checkpoint").exists());
    start("latent_dim=8").success();
    assert_eq!(config(&run)["model"]["latent_dim"].as_integer(), Some(8));
    // A run with a checkpoint is not replaced.
    start("batch_size=9").failure().stderr(contains("holds a run already").and(one_line()));
    let foreign = temp.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("config.toml"), "title = \"something else\"\n").unwrap();
    let told = run_in(temp.path(), "train quick-vae --data digits --budget 2steps --out {}", &[&foreign]);
    told.failure().stderr(contains("not a run's configuration").and(contains("choose another folder")));
    assert_eq!(fs::read_to_string(foreign.join("config.toml")).unwrap(), "title = \"something else\"\n");
}

#[test]
fn a_dry_run_refuses_what_a_run_would_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let dry = |set: &str| {
        let train = format!("train quick-vae --data moons --budget 5steps --out {{}} --dry-run --set {set}");
        let told = run_in(temp.path(), &train, &[&run]);
        assert!(!run.exists(), "{set}");
        told
    };
    for (set, told) in [
        ("batch_size=0", "`batch_size` must be a whole number from 1 up, found 0"),
        ("batch_size=-3", "`batch_size` must be a whole number from 1 up, found -3"),
        ("ema_decay=2", "`ema_decay` must be from 0 to less than 1"),
        ("log_every=0", "`log_every` must be a whole number from 1 up, found 0"),
        ("warmup_steps=-1", "`warmup_steps` must be a whole number from 0 up, found -1"),
        ("validation_rows=0 --set patience=2", "`patience` counts validations"),
        ("optimizer.learning_rate=0", "`learning_rate` of an optimizer must be a positive number"),
        ("latent_dim=0", "`latent_dim` must be at least 1, found 0"),
        ("batch_sise=4", "did you mean `batch_size`?"),
    ] {
        dry(set).failure().code(1).stderr(contains(told).and(one_line()));
    }
    dry("batch_size=4").success().stdout(contains("batch_size = 4\n")).stderr("");
    // A folder that holds a run, and missing data.
    run_in(temp.path(), "train quick-vae --data moons --budget 2steps --out {} --set batch_size=4", &[&run]).success();
    let before = config(&run);
    let again = run_in(temp.path(), "train quick-vae --data moons --budget 9steps --out {} --dry-run", &[&run]);
    again.failure().stderr(contains("holds a run already").and(one_line()));
    assert_eq!(config(&run), before);
    let missing = "train quick-vae --data csv:missing.csv --budget 9steps --out other --dry-run";
    run_in(temp.path(), missing, &[]).failure().stderr(contains("missing.csv: No such file").and(one_line()));
}

/// `gen` where no file can be larger than 4 KiB, as on a disk that is nearly full.
fn on_a_full_disk(folder: &Path, line: &str, places: &[&Path]) -> Assert {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh", PROGRAM]);
    command.current_dir(folder).env("GEN_DATA", folder.join("cache")).env("OMP_NUM_THREADS", "1");
    command.args(words(line, places)).assert()
}

#[test]
fn a_full_disk_costs_no_more_than_the_steps_since_the_last_checkpoint() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let train = "train quick-vae --data digits --out {} --set batch_size=8 --set ema_decay=0";
    let told = on_a_full_disk(temp.path(), &format!("{train} --budget 4steps"), &[&run]).failure().code(1);
    let full = || contains("File too large (os error").and(one_line());
    told.stderr(full().and(contains("step 1 cannot be saved, and there is no earlier checkpoint")));
    // A run that has saved nothing is replaced.
    run_in(temp.path(), &format!("{train} --budget 4steps"), &[&run]).success();
    let told = on_a_full_disk(temp.path(), "train --resume {} --budget 8steps", &[&run]).failure().code(1);
    let told = told.stderr(full().and(contains("step 5 cannot be saved; the checkpoint of step 4 is whole")));
    // Each line gives the reason once.
    let text = stderr(&told);
    let pictures: Vec<&str> = text.lines().filter(|line| line.contains("there is no picture of step")).collect();
    assert!(!pictures.is_empty(), "{text}");
    assert!(pictures.iter().all(|line| line.matches("os error").count() == 1), "{text}");
    run_in(temp.path(), "train --resume {}", &[&run]).success().stderr(contains("8 steps in"));

    for (command, out) in [
        ("sample -n 2000", "x.npy"),
        ("sample -n 2000", "x.png"),
        ("latent -n 300 --method pca", "x.csv"),
        ("latent -n 300 --method pca", "x.jpg"),
    ] {
        let out = temp.path().join(out);
        on_a_full_disk(temp.path(), &format!("{command} {{}} --out {{}}"), &[&run, &out])
            .failure()
            .code(1)
            .stderr(full().and(contains("panicked").not()));
    }
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "run" || name == "cache"), "{left:?}");
}

#[test]
fn other_settings_are_named_with_both_values() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let train = "train quick-vae --data digits --budget 2steps --out {} --set batch_size=8";
    run_in(temp.path(), train, &[&run]).success();
    let other = "--resume --set log_every=3 --set latent_dim=5 --set pad=10 --seed 4";
    let told = run_in(temp.path(), &format!("{train} {other}"), &[&run]).failure();
    let text = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    for expected in [
        "started with other settings",
        "training.log_every was 50, now 3",
        "latent_dim was 32, now 5",
        "data.pad was 0, now 10",
        "seed was \"0\", now \"4\"",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("batch_size"), "{text}");
    // The same settings are accepted, repeated or not.
    run_in(temp.path(), &format!("{train} --resume"), &[&run]).success();
    run_in(temp.path(), "train --resume {}", &[&run]).success();
}

#[test]
fn a_finished_run_can_be_given_more_budget() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let train = "train quick-vae --data moons --out {} --set log_every=5 --set warmup_steps=0 --set validation_rows=20";
    run_in(temp.path(), &format!("{train} --budget 20steps"), &[&run]).success();
    let told = run_in(temp.path(), "train --resume {} --budget 40steps", &[&run]).success();
    told.stderr(
        contains("resuming at step 20")
            .and(contains("the budget was 20steps and is now 40steps, of which 50 % are used"))
            .and(contains("continues at 0.500 of its peak")),
    );
    assert_eq!(column(&run.join("history.csv"), "step"), [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]);
    let rate = column(&run.join("history.csv"), "lr_scale");
    assert!(rate[3] < 0.05 && rate[4] > 0.3 && rate[7] < 0.05, "{rate:?}");
    let recorded = config(&run);
    assert_eq!(recorded["run"]["budget"].as_str(), Some("40steps"));
    let before = &recorded["run"]["earlier_budgets"][0];
    assert_eq!((before["until_step"].as_integer(), before["budget"].as_str()), (Some(20), Some("20steps")));
    // The run is finished again, and a budget below the used part is refused.
    run_in(temp.path(), "train --resume {}", &[&run]).success().stderr(contains("40 steps in"));
    let less = run_in(temp.path(), "train --resume {} --budget 30steps", &[&run]);
    less.failure().stderr(contains("has used up a budget of 30steps: it is at step 40").and(one_line()));
    assert_eq!(config(&run), recorded);
}

/// A run on a table that was given by a relative path.
fn run_of_a_relative_path(temp: &TempDir) -> PathBuf {
    let home = temp.path().join("home");
    fs::create_dir(&home).unwrap();
    table(&home.join("x.csv"), 2, 100);
    let train = "train quick-flow --data csv:x.csv --budget 3steps --out run";
    run_in(&home, train, &[]).success();
    home.join("run")
}

#[test]
fn a_run_finds_its_data_from_every_folder() {
    let temp = tempfile::tempdir().unwrap();
    let run = run_of_a_relative_path(&temp);
    let elsewhere = temp.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for line in ["evaluate {} --metrics likelihood", "train --resume {}", "density {} --grid 5 --out x.png"] {
        run_in(&elsewhere, line, &[&run]).success();
    }
    run_in(&elsewhere, "train quick-flow --data csv:../home/x.csv --budget 3steps --out ../home/run --resume", &[])
        .success();
}

#[test]
fn data_that_have_moved_are_known_by_their_hash() {
    let temp = tempfile::tempdir().unwrap();
    let run = run_of_a_relative_path(&temp);
    let (there, moved, other) =
        (temp.path().join("home/x.csv"), temp.path().join("moved.csv"), temp.path().join("other.csv"));
    fs::rename(&there, &moved).unwrap();
    table(&other, 2, 101);
    let lines = [
        "evaluate {} --metrics likelihood",
        "latent {} -n 10 --method pca --out x.png",
        "density {} --grid 5 --out x.png",
        "interpolate {} --between 1,2 --out x.png",
        "ood {} --against moons -n 5 --out ood",
        "train --resume {}",
    ];
    for line in lines {
        let missing = run_in(temp.path(), line, &[&run]).failure();
        missing.stderr(
            contains("are not where they were: give their new place with --data")
                .and(contains("x.csv: No such file"))
                .and(one_line()),
        );
        let wrong = run_in(temp.path(), &format!("{line} --data csv:{{}}"), &[&run, &other]).failure();
        wrong.stderr(
            contains("was trained on other data")
                .and(contains("the SHA-256"))
                .and(contains("wherever they lie"))
                .and(one_line()),
        );
        run_in(temp.path(), &format!("{line} --data csv:{{}}"), &[&run, &moved]).success();
    }
    // Resuming has recorded the new place of the data.
    run_in(temp.path(), "evaluate {} --metrics likelihood", &[&run]).success();
}

/// A run that takes longer than any test.
fn endless(run: &Path) -> Process {
    let mut command = Process::new(PROGRAM);
    if cfg!(target_os = "linux") {
        // A child would inherit from the tests that SIGHUP is ignored.
        command = Process::new("env");
        command.args(["--default-signal=HUP", PROGRAM]);
    }
    let line = "train ae --data moons --budget 1000000steps --set widths=[8] --set log_every=500000 --threads 1 \
                --progress none --checkpoint-every 100steps --resume --out {}";
    command.args(words(&line.replace(if run.exists() { "" } else { " --resume" }, ""), &[run]));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn saved(run: &Path) -> Option<u64> {
    let text = fs::read_to_string(run.join("checkpoint/latest/checkpoint.toml")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("step = ")?.parse().ok())
}

#[test]
fn every_signal_that_would_end_the_program_saves_first() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let mut before = 0;
    for signal in [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGXCPU,
        Signal::SIGALRM,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ] {
        let child = endless(&run).spawn().unwrap();
        wait_until("the next checkpoint", || saved(&run).is_some_and(|step| step > before));
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(128 + signal as i32), "{signal}: {said}");
        let step = saved(&run).unwrap();
        assert!(said.contains(&format!("gen: interrupted at step {step} (")), "{signal}: {said}");
        before = step;
    }
}

#[test]
fn repeated_signals_of_a_closed_terminal_do_not_lose_work() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let child = endless(&run).spawn().unwrap();
    wait_until("a checkpoint", || saved(&run).is_some());
    for _ in 0..3 {
        send(&child, Signal::SIGHUP);
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("interrupted at step"), "{said}");
}

#[test]
fn nohup_goes_on_when_the_terminal_is_closed() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let child = Process::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh", PROGRAM])
        .args(endless(&run).get_args().skip_while(|word| *word != "train"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("a checkpoint", || saved(&run).is_some());
    send(&child, Signal::SIGHUP);
    let step = saved(&run).unwrap();
    wait_until("two more checkpoints", || saved(&run).is_some_and(|now| now > step + 200));
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
}

#[test]
fn stopped_time_does_not_count_for_the_budget() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let line = "train ae --data moons --budget 3s --set widths=[8] --set log_every=1 --threads 1 --progress none \
        --out {}";
    let mut child = Process::new(PROGRAM).args(words(line, &[&run])).stderr(Stdio::null()).spawn().unwrap();
    // The last row may be incomplete.
    let rows = || fs::read_to_string(run.join("history.csv")).map_or(0, |text| text.lines().count());
    wait_until("the first rows", || rows() > 6);
    let started = Instant::now();
    for _ in 0..2 {
        send(&child, Signal::SIGSTOP);
        std::thread::sleep(Duration::from_secs(3));
        send(&child, Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(400));
    }
    assert!(child.wait().unwrap().success());
    let (seconds, passed) = (column(&run.join("history.csv"), "seconds"), started.elapsed().as_secs_f64());
    let longest = seconds.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(longest < 1.5, "a step took {longest} s, of {passed} s in all");
    assert!(passed > 6.5, "it ended after {passed} s, though it was stopped for 6 of them");
    assert!((3.0..4.5).contains(seconds.last().unwrap()), "{:?}", seconds.last());
}
