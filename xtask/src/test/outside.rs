//! A crate outside the workspace that uses the family crates.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::steps::quietly;
use crate::process::run_lines;
use crate::terminal::note;
use crate::{setup, workspace};

const FAMILIES: [&str; 4] = ["gen-gan", "gen-vae", "gen-flow", "gen-diffusion"];

/// Builds `tests/outside-crate` outside the workspace with only the lines that `setup --print-config` prints, and runs
/// it without any variable set.
pub(super) fn outside_crate(jobs: usize) -> Result<String> {
    let config = setup::config()?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    prepare(folder.path(), &config)?;
    build_and_start(folder.path(), jobs)
}

fn prepare(folder: &Path, config: &setup::Config) -> Result<()> {
    let template = workspace::root().join("tests/outside-crate");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))
    };
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    // The manifest ends with the section of its dependencies. The line that is printed is that of one family.
    let manifest = read(&template.join("Cargo.toml"))?;
    let of_family = |family: &str| config.dependency.replace("gen-flow", family) + "\n";
    write("Cargo.toml", &(manifest + &FAMILIES.map(of_family).concat()))?;
    write(".cargo/config.toml", &(config.settings.join("\n") + "\n"))?;
    write("src/main.rs", &read(&template.join("src/main.rs"))?)?;
    // With the versions of the workspace, cargo needs no registry.
    write("Cargo.lock", &read(&workspace::root().join("Cargo.lock"))?)
}

fn build_and_start(folder: &Path, jobs: usize) -> Result<String> {
    // Kept between runs. The workspace's build of torch-sys cannot be used, since the compiler flags differ.
    let target = workspace::root().join("target/outside");
    let mut build = Command::new(workspace::cargo_program());
    build.current_dir(folder).args(["build", "--jobs", &jobs.to_string(), "--target-dir"]).arg(&target);
    without_variables(&mut build);
    quietly(build)?;
    let mut lines = Vec::new();
    let mut program = Command::new(target.join("debug/outside-crate"));
    without_variables(program.current_dir(folder));
    let status = run_lines(program, |_, line| {
        note(line);
        lines.push(line.to_owned());
        Ok(())
    })?;
    if !status.success() {
        bail!("the program built outside the workspace: {status}");
    }
    lines.pop().context("the program built outside the workspace prints nothing")
}

/// Gives the command the environment of a user who has set nothing.
fn without_variables(command: &mut Command) {
    const SET_BY_US: [&str; 6] = [
        "LIBTORCH",
        "LIBTORCH_USE_PYTORCH",
        "LD_LIBRARY_PATH",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
    ];
    for name in SET_BY_US {
        command.env_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outside_crate_gets_the_printed_lines() {
        let folder = tempfile::tempdir().unwrap();
        let config = setup::Config {
            dependency: "gen-flow = { path = \"/x/gen-flow\" }".to_owned(),
            settings: ["env.LIBTORCH = \"/y\"".to_owned(), "build.rustflags = []".to_owned()],
        };
        prepare(folder.path(), &config).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
        for family in FAMILIES {
            assert_eq!(manifest["dependencies"][family]["path"].as_str(), Some(&*format!("/x/{family}")));
        }
        assert_eq!(manifest["dependencies"].as_table().unwrap().len(), 4);
        let settings: toml::Table = toml::from_str(&read(".cargo/config.toml")).unwrap();
        assert_eq!(settings["env"]["LIBTORCH"].as_str(), Some("/y"));
    }
}
