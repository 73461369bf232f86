//! Dependencies in manifests that no code uses, found by cargo-machete.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::steps::quietly;
use crate::process::Interrupted;
use crate::terminal::note;
use crate::workspace;

/// The release of cargo-machete, so that everybody has the same findings.
const VERSION: &str = "0.9.2";

/// Fails if a manifest names a dependency that its crate does not use.
///
/// Installs cargo-machete in `target/tools` if it is not there. If that fails, says so and passes.
pub(super) fn check_dependencies() -> Result<()> {
    let tools = workspace::root().join("target/tools");
    let program = tools.join("bin").join(format!("cargo-machete{}", std::env::consts::EXE_SUFFIX));
    check(&workspace::root(), &program, || {
        let mut command = workspace::cargo();
        // Compiled without optimisation, which takes less than half the time: it runs for seconds.
        command.args(["install", "--debug", "--locked", "--version", VERSION, "--root"]);
        command.arg(&tools).arg("cargo-machete");
        quietly(command)
    })
}

fn check(folder: &Path, program: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let version = machete(program).arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == VERSION)
        && let Err(error) = install()
    {
        if error.is::<Interrupted>() {
            return Err(error);
        }
        note(&format!("cannot install cargo-machete {VERSION} ({error:#}): unused dependencies are not checked"));
        return Ok(());
    }
    let mut command = machete(program);
    command.current_dir(folder).arg(".");
    quietly(command)
}

fn machete(program: &Path) -> Command {
    let mut command = Command::new(program);
    // If this variable is set, it expects the arguments that cargo passes to a subcommand.
    command.env_remove("CARGO");
    command
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::path::PathBuf;

    use anyhow::bail;

    use super::*;
    use crate::testing;

    fn script(folder: &Path, version: &str, status: u8) -> PathBuf {
        let text = format!("[ \"$1\" = . ] && exit {status}\necho {version}");
        testing::script(folder, "cargo-machete", &text)
    }

    #[test]
    fn findings_are_an_error_and_a_failed_installation_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let not_needed = || -> Result<()> { unreachable!("it is there") };
        assert!(check(folder, &script(folder, VERSION, 0), not_needed).is_ok());
        assert!(check(folder, &script(folder, VERSION, 1), not_needed).is_err());
        let old = script(folder, "0.8.0", 1);
        assert!(check(folder, &old, || bail!("no network")).is_ok());
        let install = || {
            script(folder, VERSION, 1);
            Ok(())
        };
        assert!(check(folder, &old, install).is_err());
    }
}
