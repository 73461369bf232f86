//! Wheels: their requirements and their files, each checked against the record in the wheel.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

/// A wheel that has been opened.
pub(super) struct Wheel {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// The folder `<name>-<version>.dist-info`.
    info: String,
    /// SHA-256 of each file.
    record: HashMap<String, Vec<u8>>,
}

impl Wheel {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::open_checked(path).with_context(|| format!("{} is not a whole wheel", path.display()))
    }

    fn open_checked(path: &Path) -> Result<Self> {
        let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
        let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
        let info = names
            .iter()
            .find_map(|name| name.strip_suffix("/RECORD").filter(|info| info.ends_with(".dist-info")))
            .context("it has no RECORD")?
            .to_owned();
        let record = parse_record(&read_text(&mut archive, &format!("{info}/RECORD"))?)?;
        Ok(Wheel { path: path.to_owned(), archive, info, record })
    }

    /// Whether the wheel has a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(name).is_some()
    }

    /// What the distribution requires, by its METADATA.
    pub(super) fn requirements(&mut self) -> Result<Vec<Requirement>> {
        let name = format!("{}/METADATA", self.info);
        let metadata = read_text(&mut self.archive, &name).with_context(|| self.path.display().to_string())?;
        let headers = metadata.lines().take_while(|line| !line.is_empty());
        Ok(headers.filter_map(|line| Requirement::parse(line.strip_prefix("Requires-Dist:")?)).collect())
    }

    /// Writes each file for which `target` gives a path, and checks it against the record.
    ///
    /// Returns the number of files written.
    pub(super) fn extract(
        &mut self,
        target: impl Fn(&str) -> Option<PathBuf>,
        progress: &ProgressBar,
    ) -> Result<usize> {
        let mut written = 0;
        for index in 0..self.archive.len() {
            let mut entry = self.archive.by_index(index)?;
            // A name with `..` could overwrite files elsewhere.
            let Some(safe) = entry.enclosed_name() else {
                bail!("{}: unsafe file name in the archive: {:?}", self.path.display(), entry.name());
            };
            let name = safe.to_string_lossy().into_owned();
            let Some(path) = target(&name).filter(|_| entry.is_file()) else { continue };
            let expected = self.record.get(&name).with_context(|| {
                format!("{}: {name} is not in the wheel's RECORD: get the wheel again", self.path.display())
            })?;
            let found = copy_hashed(&mut entry, &path, progress)
                .with_context(|| format!("{}: cannot unpack {name} to {}", self.path.display(), path.display()))?;
            if found != *expected {
                bail!(
                    "{}: {name} has SHA-256 {}, its RECORD says {}: get the wheel again",
                    self.path.display(),
                    hex::encode(&found),
                    hex::encode(expected)
                );
            }
            written += 1;
        }
        Ok(written)
    }

    /// The bytes of all files for which `target` gives a path.
    pub(super) fn size(&mut self, target: impl Fn(&str) -> Option<PathBuf>) -> u64 {
        let kept = |index: usize| {
            let entry = self.archive.by_index_data(index).ok()?;
            let name = self.archive.name_for_index(index)?.ok()?;
            target(&name).map(|_| entry.size())
        };
        (0..self.archive.len()).filter_map(kept).sum()
    }
}

fn read_text(archive: &mut ZipArchive<BufReader<File>>, name: &str) -> Result<String> {
    let mut text = String::new();
    archive.by_name(name)?.read_to_string(&mut text).with_context(|| name.to_owned())?;
    Ok(text)
}

/// Copies to a new file and returns the SHA-256 of what was written.
fn copy_hashed(reader: &mut impl Read, path: &Path, progress: &ProgressBar) -> Result<Vec<u8>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::new(File::create(path)?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = reader.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n])?;
        progress.inc(n as u64);
    }
    file.flush()?;
    Ok(hash.finalize().to_vec())
}

/// Reads lines of `path,sha256=<URL-safe base64>,size`. Only the record itself has no hash.
fn parse_record(text: &str) -> Result<HashMap<String, Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut record = HashMap::new();
    for row in reader.records() {
        let row = row.context("its RECORD cannot be read")?;
        let (Some(name), Some(hash)) = (row.get(0), row.get(1)) else { continue };
        if let Some(encoded) = hash.strip_prefix("sha256=") {
            let digest = URL_SAFE_NO_PAD.decode(encoded).with_context(|| format!("its RECORD: {name}"))?;
            record.insert(name.to_owned(), digest);
        }
    }
    Ok(record)
}

/// A line `Requires-Dist` (PEP 508), in the parts that are needed to choose among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    /// In the normal form: lower case, hyphens.
    pub(super) name: String,
    pub(super) extras: Vec<String>,
    /// `==13.0.3`.
    pub(super) version: String,
    /// The condition after the semicolon.
    pub(super) marker: String,
}

impl Requirement {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (requirement, marker) = line.split_once(';').unwrap_or((line, ""));
        let requirement = requirement.trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let end = requirement.find(|c| !is_name(c)).unwrap_or(requirement.len());
        let (name, rest) = requirement.split_at(end);
        let rest = rest.trim_start();
        let (extras, version) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        if name.is_empty() {
            return None;
        }
        Some(Requirement {
            name: name.to_ascii_lowercase().replace(['_', '.'], "-"),
            extras: extras.split(',').map(str::trim).filter(|e| !e.is_empty()).map(str::to_owned).collect(),
            version: version.trim().to_owned(),
            marker: marker.trim().to_owned(),
        })
    }

    /// Whether only an extra of the distribution asks for it.
    pub(super) fn is_optional(&self) -> bool {
        self.marker.contains("extra ==")
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.extras.is_empty() {
            write!(f, "[{}]", self.extras.join(","))?;
        }
        f.write_str(&self.version)?;
        if !self.marker.is_empty() {
            write!(f, "; {}", self.marker)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;

    /// Writes a wheel of these files; `record` may tamper with a line of the RECORD.
    pub(crate) fn write_wheel(path: &Path, files: &[(&str, &str)], record: impl Fn(&str, String) -> Option<String>) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        let mut lines = String::new();
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
            let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(content.as_bytes()));
            let line = format!("{name},sha256={digest},{}", content.len());
            lines.extend(record(name, line).map(|line| line + "\n"));
        }
        zip.start_file("demo-1.0.dist-info/RECORD", SimpleFileOptions::default()).unwrap();
        zip.write_all(lines.as_bytes()).unwrap();
        zip.finish().unwrap();
    }

    const FILES: [(&str, &str); 3] = [
        ("demo/lib/libdemo.so", "machine code"),
        ("demo/include/demo.h", "#pragma once"),
        (
            "demo-1.0.dist-info/METADATA",
            "Name: demo\nRequires-Dist: other>=2\nRequires-Dist: third[a, b]==1; x\n\nText",
        ),
    ];

    /// Files under `demo/`, into `folder`.
    fn into(folder: &Path) -> impl Fn(&str) -> Option<PathBuf> {
        move |name| Some(folder.join(name.strip_prefix("demo/")?))
    }

    #[test]
    fn chosen_files_are_unpacked_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.whl");
        write_wheel(&path, &FILES, |_, line| Some(line));
        let mut wheel = Wheel::open(&path).unwrap();
        let target = into(folder.path());
        assert_eq!(wheel.size(&target), 24);
        assert_eq!(wheel.extract(&target, &ProgressBar::hidden()).unwrap(), 2);
        assert_eq!(fs::read_to_string(folder.path().join("lib/libdemo.so")).unwrap(), "machine code");
        let requirements: Vec<String> = wheel.requirements().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(requirements, ["other>=2", "third[a,b]==1; x"]);
    }

    #[test]
    fn a_file_that_differs_from_the_record_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.whl");
        let other = URL_SAFE_NO_PAD.encode(Sha256::digest(b"other"));
        write_wheel(&path, &FILES, |name, line| {
            Some(if name.ends_with(".so") { format!("{name},sha256={other},12") } else { line })
        });
        let mut wheel = Wheel::open(&path).unwrap();
        let error = wheel.extract(into(folder.path()), &ProgressBar::hidden()).unwrap_err().to_string();
        assert!(error.contains("libdemo.so has SHA-256") && error.contains("get the wheel again"), "{error}");
    }

    #[test]
    fn a_file_without_a_hash_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.whl");
        write_wheel(&path, &FILES, |name, line| (!name.ends_with(".h")).then_some(line));
        let mut wheel = Wheel::open(&path).unwrap();
        let error = wheel.extract(into(folder.path()), &ProgressBar::hidden()).unwrap_err().to_string();
        assert!(error.contains("demo/include/demo.h is not in the wheel's RECORD"), "{error}");
    }

    #[test]
    fn a_truncated_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.whl");
        write_wheel(&path, &FILES, |_, line| Some(line));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = Wheel::open(&path).err().unwrap().to_string();
        assert!(error.contains("is not a whole wheel"), "{error}");
    }

    #[test]
    fn a_name_that_leaves_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.whl");
        write_wheel(&path, &[("demo/../../escape", "x")], |_, line| Some(line));
        let mut wheel = Wheel::open(&path).unwrap();
        let result = wheel.extract(into(folder.path()), &ProgressBar::hidden());
        assert!(result.unwrap_err().to_string().contains("unsafe file name"));
    }

    #[test]
    fn requirements_are_read_as_pip_writes_them() {
        let requirement =
            Requirement::parse(" cuda_toolkit[cudart,cupti]==13.0.3 ; platform_system == 'Linux'").unwrap();
        assert_eq!(requirement.name, "cuda-toolkit");
        assert_eq!(requirement.extras, ["cudart", "cupti"]);
        assert_eq!(requirement.to_string(), "cuda-toolkit[cudart,cupti]==13.0.3; platform_system == 'Linux'");
        assert!(Requirement::parse("optree>=0.13.0; extra == \"optree\"").unwrap().is_optional());
        assert_eq!(Requirement::parse(""), None);
    }
}
