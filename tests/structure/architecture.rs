//! The invariants of ARCHITECTURE.md that a machine can check.

use std::collections::BTreeSet;
use std::process::Command;

const FAMILIES: [&str; 4] = ["gen-gan", "gen-vae", "gen-flow", "gen-diffusion"];

/// A family and another one that it builds on: the prior of gen-vae is a flow.
const ALLOWED: [(&str, &str); 1] = [("gen-vae", "gen-flow")];

/// The packages that a user of `package` compiles.
fn dependencies(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn a_family_builds_on_no_other_but_the_allowed_one_and_stays_light() {
    for family in FAMILIES {
        let found = dependencies(family);
        assert!(found.contains("gen-core"));
        for other in FAMILIES.into_iter().filter(|other| *other != family) {
            assert_eq!(found.contains(other), ALLOWED.contains(&(family, other)), "{family} on {other}");
        }
        for heavy in ["gen-data", "gen-eval", "gen-run", "anyhow", "clap", "csv", "image", "indicatif", "tar", "ureq"] {
            assert!(!found.contains(heavy), "{family} depends on {heavy}");
        }
    }
}

#[test]
fn the_crates_beneath_the_families_know_none_of_them() {
    for package in ["gen-native", "gen-core", "gen-data", "gen-eval", "gen-run"] {
        let found = dependencies(package);
        assert!(FAMILIES.iter().all(|family| !found.contains(*family)), "{package}: {found:?}");
    }
}

#[test]
fn a_report_needs_files_alone() {
    let found = dependencies("gen-report");
    for forbidden in ["tch", "torch-sys", "gen-core", "gen-cli"] {
        assert!(!found.contains(forbidden), "gen-report depends on {forbidden}");
    }
}

#[test]
fn xtask_never_links_libtorch() {
    let found = dependencies("xtask");
    for forbidden in ["tch", "torch-sys", "gen-core", "gen-cli"] {
        assert!(!found.contains(forbidden), "xtask depends on {forbidden}");
    }
}
