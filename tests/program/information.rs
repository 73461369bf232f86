//! `gen list`, `gen info` and `--dry-run`: what there is, before and after training.

use predicates::prelude::*;
use predicates::str::{contains, is_match, starts_with};

use crate::shared::{one_line, run_in};

#[test]
fn models_are_listed_by_family_and_by_data() {
    let temp = tempfile::tempdir().unwrap();
    let list = |options: &str| {
        let told = run_in(temp.path(), &format!("list {options}"), &[]).success();
        String::from_utf8(told.get_output().stdout.clone()).unwrap()
    };
    assert_eq!(list("--family diffusion --names"), "quick-diffusion\nddpm\nedm\nrectified-flow\n");
    let of_points = list("--data moons --names");
    assert!(of_points.contains("maf\n") && !of_points.contains("glow\n"), "{of_points}");
    // The shape of a data set is known before it is fetched.
    let of_images = list("--data cifar10 --names");
    assert!(!of_images.contains("maf\n") && of_images.contains("glow\n"), "{of_images}");
    let all: serde_json::Value = serde_json::from_str(&list("--json")).unwrap();
    let ddpm = all.as_array().unwrap().iter().find(|model| model["name"] == "quick-diffusion").unwrap();
    assert_eq!(ddpm["capabilities"]["samplers"], serde_json::json!(["ddim", "ancestral", "euler", "heun"]));
    assert!(ddpm["citation"].as_str().unwrap().contains("2020"));
    for (options, expected) in
        [("--family flwo", "unknown family `flwo`: did you mean `flow`?"), ("--data moon", "did you mean `moons`?")]
    {
        let told = run_in(temp.path(), &format!("list {options}"), &[]).failure();
        told.stderr(contains(expected).and(one_line()));
    }
}

#[test]
fn a_model_and_its_runs_are_shown() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("run");
    let model = run_in(temp.path(), "info quick-vae --data moons", &[]).success();
    model.stdout(
        is_match("abilities +images, points, likelihood, latents\n")
            .unwrap()
            .and(is_match("\nencoder +[0-9]+\n").unwrap())
            .and(contains("[model.prior]\nkind = \"flow\"\nlayers = 8"))
            .and(contains("[sampling]\nnoise = true")),
    );
    run_in(temp.path(), "info quick-veae", &[]).failure().stderr(contains("did you mean `quick-vae`?").and(one_line()));

    let train = "train quick-vae --data moons --budget 3steps --set widths=[8] --set temperature=0.5 --out {}";
    let resolved = run_in(temp.path(), &format!("{train} --dry-run"), &[&run]).success();
    resolved.stdout(starts_with("format_version = ").and(contains("temperature = 0.5")).and(contains("widths = [8]")));
    assert!(!run.exists());
    run_in(temp.path(), train, &[&run]).success();
    run_in(temp.path(), "evaluate {} -n 50 --metrics sliced-wasserstein", &[&run]).success();
    run_in(temp.path(), "info {}", &[&run]).success().stdout(
        is_match("trained +3 steps in ")
            .unwrap()
            .and(contains("likelihood (lower-bound, importance-64), latents of [2]"))
            .and(is_match("\nevaluation\nsliced_w2 +identity +[0-9.]+").unwrap())
            .and(contains("temperature = 0.5")),
    );
}
