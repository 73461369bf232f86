//! The compiled programs of tests, several of which run at once.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{Stream, run_lines, run_merged};
use crate::{note, workspace};

/// What OpenMP's threads do while they wait.
const WAIT_POLICY: &str = "OMP_WAIT_POLICY";

/// A program of tests.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Program {
    pub(super) name: String,
    path: PathBuf,
    /// Where cargo would start it: the folder of its package.
    folder: PathBuf,
    /// Whether it starts programs of the workspace, which is what takes longest.
    starts_programs: bool,
}

/// Every program of tests, and where the libraries are that they load.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Programs {
    all: Vec<Program>,
    libraries: Vec<PathBuf>,
}

impl Programs {
    /// Compiles those of the whole workspace.
    pub(super) fn compile() -> Result<Self> {
        let mut programs = Programs::default();
        let mut command = workspace::cargo();
        command.args(["test", "--workspace", "--all-features", "--no-run"]);
        command.args(["--message-format", "json-render-diagnostics"]);
        let status = run_lines(&mut command, |stream, line| {
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

    /// Takes what a message of cargo says of programs and of libraries.
    fn read(&mut self, message: &str) {
        let Ok(message) = serde_json::from_str::<Value>(message) else { return };
        if let Some(paths) = message["linked_paths"].as_array() {
            for path in paths.iter().filter_map(Value::as_str) {
                // `native=/folder`, where cargo says what kind of library is looked for there.
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

    /// Hands them out, one after the other.
    pub(super) fn queue(self) -> Result<Queue> {
        let inherited = std::env::var_os("LD_LIBRARY_PATH");
        let inherited = inherited.iter().flat_map(std::env::split_paths);
        let libraries = std::env::join_paths(self.libraries.iter().cloned().chain(inherited))
            .context("a folder of libraries has a colon in its name")?;
        Ok(Queue { waiting: Mutex::new(self.all.into_iter().collect()), libraries })
    }
}

/// Programs that nobody has started yet.
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Program>>,
    libraries: OsString,
}

/// What a program of tests wrote, and whether all passed.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
    pub(super) passed: bool,
}

impl Queue {
    /// Runs the next program to its end, where there is one.
    pub(super) fn run_next(&self) -> Result<Option<Outcome>> {
        let Some(Program { name, path, folder, .. }) = self.lock().pop_front() else { return Ok(None) };
        let mut command = Command::new(&path);
        command.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder);
        command.env("LD_LIBRARY_PATH", &self.libraries);
        if std::env::var_os(WAIT_POLICY).is_none() {
            // Threads that wait leave their core to the other programs.
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

    /// Nothing more is started.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Program>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_cargo_name_programs_and_libraries() {
        let mut programs = Programs::default();
        for message in [
            r#"{"reason":"build-script-executed","linked_paths":["native=/lib/torch","/other","native=/lib/torch"]}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/gen-core/Cargo.toml","target":{"name":"gen_core","kind":["lib"]},"profile":{"test":false},"executable":null}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/gen-core/Cargo.toml","target":{"name":"gen_core","kind":["lib"]},"profile":{"test":true},"executable":"/t/gen_core-1"}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/gen-cli/Cargo.toml","target":{"name":"cli","kind":["test"]},"profile":{"test":true},"executable":"/t/cli-2"}"#,
            r#"{"reason":"compiler-artifact","manifest_path":"/w/gen-cli/Cargo.toml","target":{"name":"gen","kind":["bin"]},"profile":{"test":false},"executable":"/t/gen"}"#,
            "not JSON",
        ] {
            programs.read(message);
        }
        assert_eq!(programs.libraries, [Path::new("/lib/torch"), Path::new("/other")]);
        let found: Vec<_> = programs.all.iter().map(|p| (p.name.as_str(), p.starts_programs)).collect();
        assert_eq!(found, [("gen_core", false), ("cli", true)]);
        assert_eq!(programs.all[1].folder, Path::new("/w/gen-cli"));
    }

    #[cfg(unix)]
    #[test]
    fn a_program_runs_in_its_folder_with_its_libraries_and_its_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            let name = name.to_owned();
            Program { name, path, folder: folder.path().to_owned(), starts_programs: false }
        };
        let all = vec![
            script("good", "pwd; echo $LD_LIBRARY_PATH; echo error >&2"),
            script("bad", "exit 3"),
            script("never", "true"),
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
