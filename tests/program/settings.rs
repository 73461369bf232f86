//! Settings of a run: by `--set`, from a file, and from the file of another run.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use predicates::str::contains;

use crate::shared::{one_line, rows, run_in};

fn config(run: &Path) -> toml::Table {
    toml::from_str(&fs::read_to_string(run.join("config.toml")).unwrap()).unwrap()
}

#[test]
fn a_kind_and_its_keys_are_chosen_by_set() {
    let temp = tempfile::tempdir().unwrap();
    let train = "train quick-vae --data moons --budget 2steps --set widths=[8] --out {}";
    let (normal, flow) = (temp.path().join("normal"), temp.path().join("flow"));
    run_in(temp.path(), &format!("{train} --set prior=standard-normal"), &[&normal]).success();
    let expected = toml::toml! { prior = { kind = "standard-normal" } };
    assert_eq!(config(&normal)["model"]["prior"], expected["prior"]);
    run_in(
        temp.path(),
        &format!("{train} --set prior=standard-normal --set prior=flow --set prior.layers=2"),
        &[&flow],
    )
    .success();
    assert_eq!(config(&flow)["model"]["prior"], toml::toml! { prior = { kind = "flow", layers = 2 } }["prior"]);
    for run in [&normal, &flow] {
        run_in(temp.path(), "sample {} -n 5 --out {}", &[run, &temp.path().join("x.npy")]).success();
    }
    for (set, expected) in [
        ("prior=flwo", "unknown value `prior=flwo`: did you mean `prior=flow`?"),
        ("prior=standard-normal --set prior.layers=2", "unknown key `prior.layers`"),
        ("prior.layers=0", "`prior.layers` must be at least 1, found 0"),
    ] {
        run_in(temp.path(), &format!("{train} --set {set}"), &[&temp.path().join("no")])
            .failure()
            .stderr(contains(expected).and(one_line()));
    }
}

#[test]
fn the_settings_of_a_run_repeat_it() {
    let temp = tempfile::tempdir().unwrap();
    let (first, second) = (temp.path().join("first"), temp.path().join("second"));
    let train = "train quick-vae --data moons --budget 6steps --seed 5 --set widths=[8] --set batch_size=16 --out {}";
    run_in(temp.path(), train, &[&first]).success();
    let file = first.join("config.toml");
    run_in(temp.path(), "train --config {} --out {}", &[&file, &second]).success();
    assert_eq!(config(&first), config(&second));
    let weights = |run: &Path| {
        let samples = temp.path().join("x.csv");
        run_in(temp.path(), "sample {} -n 5 --out {}", &[run, &samples]).success();
        fs::read_to_string(samples).unwrap()
    };
    assert_eq!(weights(&first), weights(&second));

    // Options and `--set` win over the file.
    let third = temp.path().join("third");
    run_in(temp.path(), "train --config {} --seed 6 --budget 2steps --set beta=2 --out {}", &[&file, &third]).success();
    let config = config(&third);
    assert_eq!((config["run"]["seed"].as_integer(), config["run"]["budget"].as_str()), (Some(6), Some("2steps")));
    assert_eq!(config["model"]["beta"].as_float(), Some(2.0));
}

#[test]
fn settings_that_cannot_be_honoured_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (file, run) = (temp.path().join("settings.toml"), temp.path().join("run"));
    let with = |text: &str, line: &str, expected: &str| {
        fs::write(&file, text).unwrap();
        run_in(temp.path(), &format!("{line} --config {{}} --out {{}}"), &[&file, &run])
            .failure()
            .stderr(contains(expected).and(one_line()));
    };
    let train = "train quick-vae --data moons --budget 2steps";
    with("[run]\nmodel = \"quick-gan\"\n", train, "has settings of `quick-gan`, not of `quick-vae`");
    with("[run]\nmodle = \"quick-vae\"\n", train, "unknown key `modle`: did you mean `model`?");
    with("[run]\nbudget = \"soon\"\n", train, "should be a positive number");
    with("[data]\nsha256 = \"00\"\n", train, "has settings for other data: `sha256`");
    with("[data]\nshpae = 3\n", train, "unknown key of [data] `shpae`: did you mean `shape`?");
    with("[smapling]\nsteps = 3\n", train, "unknown section `smapling`: did you mean `sampling`?");
    with("[sampling]\nsteps = 3\n", train, "unknown key `sampling.steps`");
    with("format_version = 1\n", train, "settings of format 1; this program reads format 3");
    with("model = 3\n", train, "`model` should be a section");
    with("[model.prior]\nkind = \"standard-normal\"\nlayers = 3\n", train, "unknown key");
    with(
        "[training]\nbatch_size = 4\n",
        "train --data moons --budget 2steps",
        "give the model, or `model` in the section [run] of --config",
    );
    assert!(!run.exists());
}

#[test]
fn an_old_run_is_refused_in_one_line() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    run_in(temp.path(), "train quick-vae --data moons --budget 2steps --set widths=[8] --out {}", &[&run]).success();
    let file = run.join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    let now = "format_version = 3\n";
    assert!(text.starts_with(now));
    for (before, number) in [("", 1), ("format_version = 2\n", 2), ("format_version = 9\n", 9)] {
        fs::write(&file, text.replace(now, before)).unwrap();
        for command in ["sample {} --out x.npy", "evaluate {}", "train --resume {}"] {
            let expected = format!("the run has format {number}, which another version of this program wrote");
            run_in(temp.path(), command, &[&run]).failure().stderr(contains(expected).and(one_line()));
        }
    }
    // A key that this version added has its default.
    let shorter: String = text.lines().filter(|line| !line.starts_with("patience")).map(|l| format!("{l}\n")).collect();
    assert_ne!(shorter, text);
    fs::write(&file, shorter.replace("layers = 8\n", "")).unwrap();
    run_in(temp.path(), "sample {} -n 2 --out {}", &[&run, &temp.path().join("x.csv")]).success();
}

#[test]
fn sampling_options_are_apart_from_training_and_recorded() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let run = at("run");
    let train = "train quick-diffusion --data moons --budget 2steps --set width=8 --set blocks=1 --out {}";
    run_in(temp.path(), &format!("{train} --set sampler.steps=3"), &[&run]).success();
    let expected = toml::toml! { sampler = { kind = "ddim", steps = 3, spacing = "trailing", eta = 0.0 } };
    assert_eq!(config(&run)["sampling"]["sampler"], expected["sampler"]);

    let drawn = |options: &str| {
        let out = at("x.csv");
        run_in(temp.path(), &format!("sample {{}} -n 4 --out {{}} {options}"), &[&run, &out]).success();
        fs::read_to_string(out).unwrap()
    };
    let own = drawn("");
    assert_eq!(drawn("--steps 3"), own);
    assert_eq!(drawn("--set sampler.steps=3 --set temperature=1"), own);
    for other in ["--steps 4", "--set eta=0.5", "--set sampler=ancestral --set sampler.steps=3", "--temperature 0.5"] {
        assert_ne!(drawn(other), own, "{other}");
    }
    for (options, expected) in [
        ("--set guidence=2", "sampling options of `quick-diffusion`: unknown key `guidence`"),
        ("--sampler dimm", "did you mean `sampler=ddim`?"),
        ("--steps 1001", "1 to 1000 steps"),
        ("--set sampler=ancestral --temperature 0.5", "it needs the sampler `ddim`"),
    ] {
        run_in(temp.path(), &format!("sample {{}} --out x.csv {options}"), &[&run])
            .failure()
            .stderr(contains(expected).and(one_line()));
    }

    let evaluate = "evaluate {} -n 50 --metrics sliced-wasserstein --set sampler.steps=2";
    run_in(temp.path(), evaluate, &[&run]).success();
    let row = &rows(&run.join("evaluation.csv"))[0];
    assert_eq!((row["nfe"].as_str(), row["sampler"].as_str()), ("2", "ddim"));
    assert_eq!(
        row["sampling"],
        "clip=false guidance=0.0 sampler=ddim sampler.eta=0.0 sampler.spacing=trailing sampler.steps=2 temperature=1.0"
    );
    run_in(temp.path(), "evaluate --samples {} --data moons --steps 3", &[&at("x.csv")])
        .failure()
        .stderr(contains("sampling options are for runs").and(one_line()));

    // A run may continue with other sampling options.
    let resume = train.replace("2steps", "4steps --resume --set sampler.steps=5");
    run_in(temp.path(), &resume, &[&run]).success();
    assert_eq!(config(&run)["sampling"]["sampler"]["steps"].as_integer(), Some(5));
}
