//! Compiled test programs, several of which run at once.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{Stream, run_lines, run_merged};
use crate::terminal::note;
use crate::workspace;

/// The variable that tells OpenMP's threads how to wait.
const WAIT_POLICY: &str = "OMP_WAIT_POLICY";

/// A test program.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Program {
    pub(super) name: String,
    path: PathBuf,
    /// The folder of its package, in which cargo would start it.
    folder: PathBuf,
    /// Whether it starts programs of the workspace, which takes longest.
    starts_programs: bool,
}

/// All test programs, and the folders of the libraries that they load.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Programs {
    all: Vec<Program>,
    libraries: Vec<PathBuf>,
}

impl Programs {
    /// Compiles the test programs of the whole workspace.
    pub(super) fn compile() -> Result<Self> {
        let mut programs = Programs::default();
        let mut command = workspace::cargo();
        command.args(["test", "--workspace", "--all-features", "--no-run"]);
        command.args(["--message-format", "json-render-diagnostics"]);
        let status = run_lines(command, |stream, line| {
            match stream {
                Stream::Out => programs.read(line),
                Stream::Err => note(line),
            }
            Ok(())
        })?;
        if !status.success() {
            bail!("`cargo test --no-run`: {status}");
        }
        programs.all.sort_by_key(|program| !program.starts_programs);
        Ok(programs)
    }

    /// Reads programs and libraries from a message of cargo.
    fn read(&mut self, message: &str) {
        let Ok(message) = serde_json::from_str::<Value>(message) else { return };
        if let Some(paths) = message["linked_paths"].as_array() {
            for path in paths.iter().filter_map(Value::as_str) {
                // `native=/folder`, with the kind of library first.
                let folder = PathBuf::from(path.split_once('=').map_or(path, |(_, folder)| folder));
                if !self.libraries.contains(&folder) {
                    self.libraries.push(folder);
                }
            }
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if message["profile"]["test"] == true
            && let Some(path) = text(&message["executable"])
            && let Some(manifest) = text(&message["manifest_path"])
            && let Some(name) = text(&message["target"]["name"])
        {
            let folder = Path::new(&manifest).parent().unwrap_or(Path::new("/")).to_owned();
            let starts_programs = message["target"]["kind"][0] == "test" && folder.ends_with("gen-cli");
            self.all.push(Program { name, path: path.into(), folder, starts_programs });
        }
    }

    /// Puts the programs in a queue.
    pub(super) fn queue(self) -> Result<Queue> {
        let inherited = std::env::var_os("LD_LIBRARY_PATH");
        let inherited = inherited.iter().flat_map(std::env::split_paths);
        let libraries = std::env::join_paths(self.libraries.iter().cloned().chain(inherited))
            .context("a folder of libraries has a colon in its name")?;
        Ok(Queue { waiting: Mutex::new(self.all.into_iter().collect()), libraries })
    }
}

/// Programs that have not been started.
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Program>>,
    libraries: OsString,
}

/// The output of a test program, and whether all its tests passed.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
    pub(super) passed: bool,
}

impl Queue {
    /// Runs the next program to its end; `None` if there is none.
    pub(super) fn run_next(&self) -> Result<Option<Outcome>> {
        let Some(Program { name, path, folder, .. }) = self.lock().pop_front() else { return Ok(None) };
        let mut command = Command::new(&path);
        command.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder);
        command.env("LD_LIBRARY_PATH", &self.libraries);
        if std::env::var_os(WAIT_POLICY).is_none() {
            // Waiting threads leave their core to the other programs.
            command.env(WAIT_POLICY, "passive");
        }
        let mut lines = vec![format!("     Running {name} ({})", path.display())];
        let status = run_merged(command, |line| {
            lines.push(line.to_owned());
            Ok(())
        })?;
        let passed = status.success();
        if !passed {
            lines.push(format!("{name}: {status}"));
        }
        Ok(Some(Outcome { name, lines, passed }))
    }

    /// Removes all waiting programs.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Program>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_of_cargo_name_programs_and_libraries() {
        let mut programs = Programs::default();
        let paths = json!({ "linked_paths": ["native=/lib/torch", "/other", "native=/lib/torch"] });
        programs.read(&paths.to_string());
        for (package, name, kind, test, executable) in [
            ("gen-core", "gen_core", "lib", false, None),
            ("gen-core", "gen_core", "lib", true, Some("/t/gen_core-1")),
            ("gen-cli", "cli", "test", true, Some("/t/cli-2")),
            ("gen-cli", "gen", "bin", false, Some("/t/gen")),
        ] {
            let artifact = json!({
                "reason": "compiler-artifact",
                "manifest_path": format!("/w/{package}/Cargo.toml"),
                "target": { "name": name, "kind": [kind] },
                "profile": { "test": test },
                "executable": executable,
            });
            programs.read(&artifact.to_string());
        }
        programs.read("not JSON");
        assert_eq!(programs.libraries, [Path::new("/lib/torch"), Path::new("/other")]);
        let found: Vec<_> = programs.all.iter().map(|p| (p.name.as_str(), p.starts_programs)).collect();
        assert_eq!(found, [("gen_core", false), ("cli", true)]);
        assert_eq!(programs.all[1].folder, Path::new("/w/gen-cli"));
    }

    #[cfg(unix)]
    #[test]
    fn a_program_runs_in_its_folder_with_its_libraries_and_its_end_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let path = crate::testing::script(folder.path(), name, text);
            let name = name.to_owned();
            Program { name, path, folder: folder.path().to_owned(), starts_programs: false }
        };
        let all = vec![
            program("good", "pwd; echo $LD_LIBRARY_PATH; echo error >&2"),
            program("bad", "exit 3"),
            program("never", "true"),
        ];
        let queue = Programs { all, libraries: vec!["/lib/torch".into()] }.queue().unwrap();
        let good = queue.run_next().unwrap().unwrap();
        assert!(good.passed);
        assert_eq!(good.lines[1], folder.path().canonicalize().unwrap().to_string_lossy());
        assert!(good.lines[2].starts_with("/lib/torch"), "{:?}", good.lines);
        assert_eq!(good.lines[3], "error");
        let bad = queue.run_next().unwrap().unwrap();
        assert!(!bad.passed);
        assert_eq!(bad.lines[1], "bad: exit status: 3");
        queue.close();
        assert!(queue.run_next().unwrap().is_none());
    }
}
