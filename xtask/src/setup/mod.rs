//! `cargo xtask setup`: finds or installs libtorch, once, and makes `.libtorch` point at it.

mod archive;
mod find;
mod install;
mod link;
mod pip;
mod release;
mod wheel;

use std::path::Path;

use anyhow::Result;

use crate::terminal::note;
use crate::workspace;
use find::{Found, Origin};
use release::Build;

pub(crate) use release::{VERSION, cache_folder};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Take a libtorch for NVIDIA GPUs
    #[arg(long)]
    cuda: bool,

    /// Print the lines that a crate outside this workspace needs
    #[arg(long)]
    print_config: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    use std::io::Write;

    let found = set_up(if args.cuda { Build::Cuda } else { Build::Any })?;
    let mut out = std::io::stdout().lock();
    if args.print_config {
        write!(out, "{}", Config::of(&found.root))?;
    } else {
        writeln!(out, "{found}")?;
    }
    Ok(())
}

/// Finds or installs libtorch; quick and silent if that has been done.
pub(crate) fn ensure() -> Result<()> {
    set_up(Build::Any).map(drop)
}

/// The lines for a crate outside this workspace.
pub(crate) fn config() -> Result<Config> {
    Ok(Config::of(&set_up(Build::Any)?.root))
}

fn set_up(build: Build) -> Result<Found> {
    let link = workspace::libtorch_link();
    let search = find::Search::from_environment(&link)?;
    let found = match search.find(build)? {
        Some(found) => found,
        None => install::install(&search, build)?,
    };
    if found.origin != Origin::Link {
        link::point(&link, &found.root)?;
    }
    if !has_cxx_compiler() {
        note("no C++ compiler found: install one (Debian, Ubuntu: apt-get install g++) or set CXX");
    }
    Ok(found)
}

fn has_cxx_compiler() -> bool {
    let runs = |program: &std::ffi::OsStr| {
        let mut command = std::process::Command::new(program);
        command.arg("--version").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    // CXX may contain flags or a launcher. If it is wrong, the build reports that.
    std::env::var_os("CXX").is_some() || ["c++", "g++", "clang++"].iter().any(|name| runs(name.as_ref()))
}

/// What a crate outside this workspace needs: a dependency, and two settings of its own cargo.
pub(crate) struct Config {
    /// The line under `[dependencies]` in its `Cargo.toml`.
    pub(crate) dependency: String,
    /// The lines in its `.cargo/config.toml`.
    pub(crate) settings: [String; 2],
}

impl Config {
    fn of(libtorch: &Path) -> Self {
        let quote = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned()).to_string();
        let rpath = format!("link-arg=-Wl,-rpath,{}", libtorch.join("lib").display());
        Config {
            dependency: format!("gen-flow = {{ path = {} }}", quote(&workspace::root().join("crates/gen-flow"))),
            settings: [
                format!("env.LIBTORCH = {}", quote(libtorch)),
                format!("build.rustflags = [\"-C\", {}]", toml::Value::from(rpath)),
            ],
        }
    }
}

impl std::fmt::Display for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "# Cargo.toml, under [dependencies]; any of the family crates\n{}", self.dependency)?;
        writeln!(f, "# .cargo/config.toml, above all sections\n{}", self.settings.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_lines_are_what_cargo_reads() {
        let config = Config::of(Path::new("/opt/a \"quoted\" folder"));
        let settings: toml::Table = toml::from_str(&config.settings.join("\n")).unwrap();
        assert_eq!(settings["env"]["LIBTORCH"].as_str(), Some("/opt/a \"quoted\" folder"));
        let flags: Vec<&str> =
            settings["build"]["rustflags"].as_array().unwrap().iter().filter_map(|flag| flag.as_str()).collect();
        assert_eq!(flags, ["-C", "link-arg=-Wl,-rpath,/opt/a \"quoted\" folder/lib"]);
        let manifest: toml::Table = toml::from_str(&config.dependency).unwrap();
        assert!(Path::new(manifest["gen-flow"]["path"].as_str().unwrap()).join("Cargo.toml").is_file());
    }

    #[test]
    fn three_lines_are_printed_besides_comments() {
        let text = Config::of(Path::new("/opt/libtorch")).to_string();
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 3);
    }
}
