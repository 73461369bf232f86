//! The invariants of ARCHITECTURE.md that a machine can check.

use std::collections::BTreeSet;
use std::process::Command;

const FAMILIES: [&str; 4] = ["gen-gan", "gen-vae", "gen-flow", "gen-diffusion"];

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
fn a_family_knows_no_other_and_stays_light() {
    for family in FAMILIES {
        let found = dependencies(family);
        assert!(found.contains("gen-core"));
        for other in FAMILIES.iter().filter(|other| **other != family) {
            assert!(!found.contains(*other), "{family} depends on {other}");
        }
        for heavy in ["anyhow", "clap", "csv", "image", "indicatif", "plotters", "tar", "ureq"] {
            assert!(!found.contains(heavy), "{family} depends on {heavy}");
        }
    }
}

#[test]
fn the_core_knows_no_family() {
    let found = dependencies("gen-core");
    assert!(FAMILIES.iter().all(|family| !found.contains(*family)));
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
