//! Long work shows its progress, on a terminal of any kind and without one.
#![cfg(unix)]
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::shared::{PROGRAM, run_in, words};
use gen_core::rng::Generator;
use gen_data::npy;
use nix::pty::{OpenptyResult, Winsize, openpty};
use tch::{Device, Kind};

fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words(line, &[])).args(["--threads", "1"]).current_dir(folder);
    command.env("GEN_DATA", folder.join("cache")).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The output of `gen` on a terminal of this kind.
fn on_a_terminal(term: &str, folder: &Path, line: &str) -> String {
    let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
    let mut child = command(folder, line).env("TERM", term).env_remove("NO_COLOR").stderr(slave).spawn().unwrap();
    let mut shown = Vec::new();
    // On some systems reading the end of a terminal is an error.
    let _ = File::from(master).read_to_end(&mut shown);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(child.wait().unwrap().success(), "{shown}");
    shown
}

const ESCAPE: char = '\u{1b}';

#[test]
fn a_terminal_that_draws_no_bars_gets_lines() {
    let temp = tempfile::tempdir().unwrap();
    let train = "train ae --data moons --budget 20steps --out";
    let dumb = on_a_terminal("dumb", temp.path(), &format!("{train} a"));
    assert!(dumb.contains("100%  step 20") && !dumb.contains(ESCAPE), "{dumb}");
    let dumb = on_a_terminal("dumb", temp.path(), "evaluate a -n 100 --metrics fd");
    assert!(dumb.contains("a: 100 samples") && !dumb.contains(ESCAPE), "{dumb}");
    // Another terminal draws bars.
    let xterm = on_a_terminal("xterm", temp.path(), &format!("{train} b"));
    assert!(xterm.contains(ESCAPE), "{xterm}");
}

/// Checks that a long command prints a line of progress that begins with `told`, then ends the command.
fn tells(folder: &Path, line: &str, told: &str) {
    let mut child = command(folder, line).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut before = Vec::new();
    let found = loop {
        match receiver.recv_timeout(Duration::from_secs(60)) {
            Ok(line) if line.starts_with(told) && line.contains(" so far") => break true,
            Ok(line) => before.push(line),
            Err(_) => break false,
        }
    };
    // The command may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
    assert!(found, "`{line}` does not tell `{told}`: {before:?}");
}

#[test]
fn work_of_more_than_two_seconds_prints_lines_without_a_terminal() {
    let temp = tempfile::tempdir().unwrap();
    for (model, data) in [("quick-diffusion", "moons"), ("quick-flow", "moons"), ("quick-diffusion", "digits")] {
        let train = format!("train {model} --data {data} --budget 1steps --progress none --out {model}-{data}");
        run_in(temp.path(), &train, &[]).success();
    }
    // Fitting principal components to so many pixels takes seconds.
    let x = Generator::seeded(1).randint(0, 256, [3500, 52, 52], (Kind::Uint8, Device::Cpu));
    fs::write(temp.path().join("x.npy"), npy::to_bytes(&x).unwrap()).unwrap();
    let cases = [
        ("density quick-diffusion-moons --grid 2000 --out x.png", "log-density (ode): "),
        ("sample quick-diffusion-moons -n 5000000 --out samples.npy", "drawing samples: "),
        ("trajectory quick-diffusion-moons -n 100000 --out x.png", "drawing samples: "),
        ("latent quick-flow-moons -n 10000 --method tsne --out x.png", "map: "),
        ("interpolate quick-diffusion-digits --rows 64 --steps 200 --out x.gif", "interpolations: "),
        ("ood quick-diffusion-digits --against digits --out ood", "likelihood (lower-bound) of rows of digits: "),
        ("evaluate --reference floor --data npy:x.npy --features pca --metrics fd --out floor", "feature spaces: "),
        ("features check --data digits", "sets of images: "),
        ("features train --data digits --kind self-supervised --batch-size 2 --out net", "epoch 1 of 8: "),
    ];
    // Each command mostly waits, so three run at a time.
    let folder = temp.path();
    for some in cases.chunks(3) {
        std::thread::scope(|scope| {
            for &(line, told) in some {
                scope.spawn(move || tells(folder, line, told));
            }
        });
    }
}
