use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use gen_core::Error;
use tempfile::TempDir;

use crate::manifest::Source;
use crate::part::{Failure, scratch};

const CONNECT: Duration = Duration::from_secs(5);
/// A connection without a byte for this long is dead.
const SILENCE: Duration = Duration::from_secs(20);
/// A package client that takes longer is stopped.
const CLIENT: Duration = Duration::from_secs(15 * 60);

/// A file of a source, open for reading.
pub(crate) struct Opened {
    pub(crate) reader: Box<dyn Read>,
    /// The number of bytes in all, where the source gives it.
    pub(crate) total: Option<u64>,
}

impl From<File> for Opened {
    fn from(file: File) -> Self {
        let total = file.metadata().ok().map(|metadata| metadata.len());
        Opened { reader: Box::new(file), total }
    }
}

/// Reads a source and reports the number of bytes so far, and in all where the source gives it.
pub(crate) struct Counted<'a> {
    opened: Opened,
    received: u64,
    report: Report<'a>,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(opened: Opened, report: Report<'a>) -> Self {
        Counted { opened, received: 0, report }
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.opened.reader.read(buffer)?;
        self.received += n as u64;
        (self.report)(self.received, self.opened.total);
        Ok(n)
    }
}

/// The sources of one fetch. A package is downloaded once for all its files, and an unreachable host is tried once.
pub(crate) struct Sources<'a> {
    folder: &'a Path,
    agent: ureq::Agent,
    /// The hosts that could not be reached, and why.
    unreachable: HashMap<String, String>,
    /// The folders of packages, or the reasons why they could not be downloaded.
    packages: HashMap<String, Result<PathBuf, String>>,
    scratch: Option<TempDir>,
}

pub(crate) type Report<'r> = &'r mut dyn FnMut(u64, Option<u64>);

impl<'a> Sources<'a> {
    /// Packages are unpacked in a temporary folder inside `folder`.
    pub(crate) fn new(folder: &'a Path) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .accept_encoding("identity")
            .user_agent(concat!("gen-models/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Sources { folder, agent, unreachable: HashMap::new(), packages: HashMap::new(), scratch: None }
    }

    /// The reason why `source` cannot be used, where an earlier file has shown it.
    pub(crate) fn known_failure(&self, source: &Source) -> Option<&str> {
        let reason = match source {
            Source::Url { url } => self.unreachable.get(host(url)),
            Source::Debian { .. } | Source::Npm { .. } => self.packages.get(&source.to_string())?.as_ref().err(),
            Source::Bundled { .. } => None,
        };
        reason.map(String::as_str)
    }

    pub(crate) fn open(&mut self, source: &Source, report: Report<'_>) -> Result<Opened, Failure> {
        match source {
            Source::Url { url } => self.open_url(url),
            Source::Debian { package, path } => {
                let root = self.package(source, |scratch| debian(scratch, package, report))?;
                Ok(open_in(&root, path)?.into())
            }
            Source::Npm { package, version, path } => {
                let archive = self.package(source, |scratch| npm(scratch, package, version, report))?;
                open_in_tar_gz(&archive, path)
            }
            Source::Bundled { .. } => Err(Failure::Source("this program does not carry it".to_owned())),
        }
    }

    pub(crate) fn open_url(&mut self, url: &str) -> Result<Opened, Failure> {
        match self.agent.get(url).call() {
            Ok(response) => {
                let body = response.into_body();
                let total = body.content_length();
                // `Part::receive` limits the size.
                let reader = body.into_with_config().limit(u64::MAX).reader();
                Ok(Opened { reader: Box::new(reader), total })
            }
            Err(error) => {
                let reason = match &error {
                    ureq::Error::Io(error) => error.to_string(),
                    error => error.to_string(),
                };
                let reason = reason.lines().next().unwrap_or_default().to_owned();
                if !matches!(error, ureq::Error::StatusCode(_)) {
                    self.unreachable.insert(host(url).to_owned(), reason.clone());
                }
                Err(Failure::Source(reason))
            }
        }
    }

    /// The result of `get` in a new folder, called once for each package.
    fn package(
        &mut self,
        source: &Source,
        get: impl FnOnce(&Path) -> Result<PathBuf, String>,
    ) -> Result<PathBuf, Failure> {
        let key = source.to_string();
        if !self.packages.contains_key(&key) {
            let scratch = match self.scratch.take() {
                Some(scratch) => scratch,
                None => scratch(self.folder)?,
            };
            let place = scratch.path().join(self.packages.len().to_string());
            self.scratch = Some(scratch);
            fs::create_dir(&place).map_err(|error| Failure::Local(Error::io(&place)(error)))?;
            self.packages.insert(key.clone(), get(&place));
        }
        self.packages[&key].clone().map_err(Failure::Source)
    }
}

/// Downloads and unpacks a Debian package; returns the folder with its files.
fn debian(scratch: &Path, package: &str, report: Report<'_>) -> Result<PathBuf, String> {
    let downloaded = run(apt_get(scratch).args(["download", package]), scratch, report);
    if let Err(first) = downloaded {
        // The package lists of the machine may be missing or old, and only root may update them: use lists in
        // `scratch`.
        let own = |command: &mut Command| {
            for (option, folder) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
                let folder = scratch.join(folder);
                fs::create_dir_all(folder.join("partial")).map_err(|error| error.to_string())?;
                command.arg("-o").arg(format!("{option}={}", folder.display()));
            }
            Ok::<(), String>(())
        };
        let mut update = apt_get(scratch);
        own(&mut update)?;
        let mut download = apt_get(scratch);
        own(&mut download)?;
        run(update.arg("update"), scratch, report)
            .and_then(|()| run(download.args(["download", package]), scratch, report))
            .map_err(|_| first)?;
    }
    let archive = find(scratch, "deb")?;
    let root = scratch.join("root");
    run(Command::new("dpkg-deb").arg("--extract").args([&archive, &root]), scratch, report)?;
    Ok(root)
}

fn apt_get(scratch: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]);
    // As root, apt downloads as another user, who cannot write here.
    command.args(["-o", "APT::Sandbox::User=root"]).current_dir(scratch);
    command
}

/// Downloads an npm package; returns its archive.
fn npm(scratch: &Path, package: &str, version: &str, report: Report<'_>) -> Result<PathBuf, String> {
    let mut command = Command::new("npm");
    command.args(["pack", "--silent", "--ignore-scripts", "--no-update-notifier"]);
    command.args(["--fetch-retries=1", "--fetch-timeout=20000"]);
    command.arg("--cache").arg(scratch.join("cache")).arg(format!("{package}@{version}"));
    run(command.current_dir(scratch), scratch, report)?;
    find(scratch, "tgz")
}

/// Runs a package client to its end; the growth of `scratch` counts the bytes.
fn run(command: &mut Command, scratch: &Path, report: Report<'_>) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let messages = scratch.join("messages");
    let stderr = File::create(&messages).map_err(|error| error.to_string())?;
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no `{program}` on this machine"),
        _ => format!("`{program}` cannot be started: {error}"),
    })?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if start.elapsed() > CLIENT {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("`{program}` took longer than {} s", CLIENT.as_secs()));
        }
        report(size_of(scratch), None);
        thread::sleep(Duration::from_millis(50));
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read(&messages).unwrap_or_default();
    Err(format!("`{program}` failed: {}", error_line(&String::from_utf8_lossy(&said))))
}

/// The first line that looks like an error, or the last one.
fn error_line(messages: &str) -> String {
    let lines = || messages.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().find(|line| ["E:", "npm error", "npm ERR!"].iter().any(|mark| line.starts_with(mark)));
    error.or(lines().next_back()).unwrap_or("it gave no reason").to_owned()
}

fn host(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or(url)
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn find(folder: &Path, extension: &str) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .ok_or_else(|| format!("the client left no .{extension} file"))
}

fn open_in(root: &Path, path: &str) -> Result<File, Failure> {
    let found = root.join(path);
    // A package may hold a link to a place outside of it.
    let inside = found.canonicalize().and_then(|found| Ok(found.starts_with(root.canonicalize()?)));
    if !inside.is_ok_and(|inside| inside) {
        return Err(missing(path));
    }
    File::open(found).map_err(|error| Failure::Source(format!("{path}: {error}")))
}

/// Opens the entry `path` of a compressed archive.
fn open_in_tar_gz(archive: &Path, path: &str) -> Result<Opened, Failure> {
    let broken = |error: io::Error| Failure::Source(format!("the package cannot be unpacked: {error}"));
    let file = File::open(archive).map_err(|error| Failure::Local(Error::io(archive)(error)))?;
    let mut tar = tar::Archive::new(GzDecoder::new(io::BufReader::new(file)));
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if entry.path().is_ok_and(|found| found == Path::new(path)) {
            // The entry borrows the archive, so it is copied to a file beside it.
            let copy = archive.with_extension("entry");
            let mut out = File::create(&copy).map_err(|error| Failure::Local(Error::io(&copy)(error)))?;
            io::copy(&mut entry, &mut out).map_err(broken)?;
            let file = File::open(&copy).map_err(|error| Failure::Local(Error::io(&copy)(error)))?;
            return Ok(file.into());
        }
    }
    Err(missing(path))
}

fn missing(path: &str) -> Failure {
    Failure::Source(format!("the package has no {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_fail_or_are_missing_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let run = |command: &mut Command| run(command, folder.path(), &mut |_, _| ()).unwrap_err();
        assert_eq!(run(&mut Command::new("no-such-client")), "there is no `no-such-client` on this machine");
        let mut command = Command::new("sh");
        command.args(["-c", "echo W: x >&2; echo E: no such package >&2; echo bye >&2; exit 100"]);
        assert_eq!(run(&mut command), "`sh` failed: E: no such package");
    }

    #[test]
    fn entries_of_archives_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("some-1.0.0.tgz");
        let gz = flate2::write::GzEncoder::new(File::create(&archive).unwrap(), Default::default());
        let mut tar = tar::Builder::new(gz);
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, "package/data/abc", &b"abc"[..]).unwrap();
        tar.into_inner().unwrap().finish().unwrap();

        let mut opened = open_in_tar_gz(&archive, "package/data/abc").unwrap();
        let mut content = String::new();
        opened.reader.read_to_string(&mut content).unwrap();
        assert_eq!((content.as_str(), opened.total), ("abc", Some(3)));
        let Err(Failure::Source(reason)) = open_in_tar_gz(&archive, "package/data/xyz") else { panic!() };
        assert_eq!(reason, "the package has no package/data/xyz");
    }

    #[cfg(unix)]
    #[test]
    fn links_do_not_lead_out_of_a_package() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(folder.path().join("secret"), "x").unwrap();
        fs::write(root.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        assert!(open_in(&root, "file").is_ok());
        assert!(open_in(&root, "link").is_err());
    }
}
