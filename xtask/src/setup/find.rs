//! The search for a libtorch of the right version.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::release::{Build, VERSION, cache_folder, installation, root_in};
use crate::terminal::note;

/// A libtorch of the right version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The folder with `lib` and `include`.
    pub(super) root: PathBuf,
    /// Whether it can compute on NVIDIA GPUs.
    pub(super) cuda: bool,
    pub(super) origin: Origin,
}

/// The way in which it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Environment,
    Link,
    Python,
    Cache,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.cuda { "CUDA" } else { "CPU" };
        let origin = match self.origin {
            Origin::Environment => "named by the environment",
            Origin::Link => "as set up before; remove .libtorch to search again",
            Origin::Python => "of Python's torch",
            Origin::Cache => "in the user's cache",
        };
        write!(f, "libtorch {VERSION} ({kind}) {}, {origin}", self.root.display())
    }
}

/// The inputs of the search.
#[derive(Debug)]
pub(super) struct Search {
    /// LIBTORCH, unless its value comes from `.cargo/config.toml`.
    pub(super) libtorch: Option<PathBuf>,
    /// LIBTORCH_USE_PYTORCH: Python's torch and no other.
    pub(super) use_pytorch: bool,
    /// The interpreter.
    pub(super) python: PathBuf,
    /// The link of an earlier set-up.
    pub(super) link: PathBuf,
    /// The folder of this user's installations.
    pub(super) cache: PathBuf,
}

impl Search {
    pub(super) fn from_environment(link: &Path) -> Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Ok(Search {
            libtorch: variable("LIBTORCH").map(PathBuf::from).filter(|path| path != link),
            use_pytorch: std::env::var_os("LIBTORCH_USE_PYTORCH").is_some(),
            // The same choice as the build script of torch-sys makes.
            python: if variable("VIRTUAL_ENV").is_some() { "python" } else { "python3" }.into(),
            link: link.to_owned(),
            cache: cache_folder()?,
        })
    }

    /// Looks at the environment, the earlier set-up, Python's torch and the cache, in this order.
    ///
    /// A wrong libtorch is an error if the environment names it; elsewhere it is skipped.
    pub(super) fn find(&self, build: Build) -> Result<Option<Found>> {
        if let Some(root) = &self.libtorch {
            let what = format!("LIBTORCH={}", root.display());
            // The link of another workspace may change later.
            let root = fs::canonicalize(root).with_context(|| what.clone())?;
            let found = inspect(&root, Origin::Environment).with_context(|| what.clone())?;
            if build == Build::Cuda && !found.cuda {
                bail!("{what} has no lib/libtorch_cuda.so: unset LIBTORCH to have one with GPU support installed");
            }
            return Ok(Some(found));
        }
        if self.use_pytorch {
            let torch = python_torch(&self.python)
                .with_context(|| format!("LIBTORCH_USE_PYTORCH is set, and {} has no torch", self.python.display()))?;
            let found = inspect(&torch.root, Origin::Environment).context("LIBTORCH_USE_PYTORCH is set")?;
            if build == Build::Cuda && !found.cuda {
                bail!("LIBTORCH_USE_PYTORCH is set, and Python's torch has no GPU support: unset it");
            }
            return Ok(Some(found));
        }
        let fits = |found: &Found| build == Build::Any || found.cuda;
        if let Ok(root) = fs::canonicalize(&self.link)
            && let Ok(found) = inspect(&root, Origin::Link)
            && fits(&found)
        {
            return Ok(Some(found));
        }
        if let Some(found) = self.python_found()
            && fits(&found)
        {
            return Ok(Some(found));
        }
        let cached = [Build::Any, Build::Cuda].map(|build| root_in(&installation(&self.cache, build), build));
        let found = cached.iter().filter_map(|root| inspect(root, Origin::Cache).ok()).find(fits);
        Ok(found)
    }

    fn python_found(&self) -> Option<Found> {
        let torch = python_torch(&self.python)?;
        if base(&torch.version) != VERSION {
            note(&format!("{} has torch {}, not {VERSION}: it is not used", self.python.display(), torch.version));
            return None;
        }
        inspect(&torch.root, Origin::Python).ok()
    }
}

/// Checks that `root` is a whole libtorch of the right version.
pub(super) fn inspect(root: &Path, origin: Origin) -> Result<Found> {
    let library = |name: &str| {
        let suffix = if cfg!(target_os = "macos") { "dylib" } else { "so" };
        root.join("lib").join(format!("{name}.{suffix}"))
    };
    let header = root.join("include/torch/csrc/api/include/torch/torch.h");
    for file in [library("libtorch_cpu"), library("libc10"), library("libtorch"), header] {
        if !file.is_file() {
            bail!("{} is not a libtorch: it has no {}", root.display(), file.display());
        }
    }
    let version =
        version(root).with_context(|| format!("cannot read the version of libtorch in {}", root.display()))?;
    if base(&version) != VERSION {
        bail!(
            "expected libtorch {VERSION}, which this workspace's tch needs, found {version} in {}: \
             install torch=={VERSION} there, or unset the variable to have it installed",
            root.display()
        );
    }
    Ok(Found { root: root.to_owned(), cuda: library("libtorch_cuda").is_file(), origin })
}

/// The version, which the official archive has in a file and a wheel has in its headers.
fn version(root: &Path) -> Option<String> {
    if let Ok(version) = fs::read_to_string(root.join("build-version")) {
        return Some(version.trim().to_owned());
    }
    let headers = ["include/torch/headeronly/version.h", "include/torch/csrc/api/include/torch/version.h"];
    headers.iter().find_map(|header| header_version(&fs::read_to_string(root.join(header)).ok()?))
}

fn header_version(header: &str) -> Option<String> {
    let part = |name: &str| {
        let prefix = format!("#define TORCH_VERSION_{name} ");
        header.lines().find_map(|line| line.strip_prefix(&prefix)?.trim().parse::<u32>().ok())
    };
    Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?))
}

/// `2.13.0` of `2.13.0+cu130`.
fn base(version: &str) -> &str {
    version.split('+').next().unwrap_or(version)
}

/// Python's torch according to its metadata; importing it would take seconds.
struct PythonTorch {
    version: String,
    root: PathBuf,
}

fn python_torch(python: &Path) -> Option<PythonTorch> {
    const SCRIPT: &str = "\
import importlib.metadata, importlib.util, os
print(importlib.metadata.version('torch'))
print(os.path.dirname(importlib.util.find_spec('torch').origin))";
    let output = Command::new(python).args(["-c", SCRIPT]).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines();
    Some(PythonTorch { version: lines.next()?.to_owned(), root: lines.next()?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "#pragma once\n#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 13\n\
                          #define TORCH_VERSION_PATCH 0\n#define TORCH_VERSION \\\n  \"2.13.0\"\n";

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A folder with the files that `inspect` looks for.
    pub(crate) fn libtorch(root: &Path, header: &str) {
        let suffix = if cfg!(target_os = "macos") { "dylib" } else { "so" };
        for name in ["libtorch_cpu", "libc10", "libtorch"] {
            write(root, &format!("lib/{name}.{suffix}"), "");
        }
        write(root, "include/torch/csrc/api/include/torch/torch.h", "");
        write(root, "include/torch/headeronly/version.h", header);
    }

    fn search(folder: &Path) -> Search {
        Search {
            libtorch: None,
            use_pytorch: false,
            python: folder.join("no-python"),
            link: folder.join(".libtorch"),
            cache: folder.join("cache"),
        }
    }

    #[test]
    fn the_version_comes_from_the_archive_or_the_headers() {
        let folder = tempfile::tempdir().unwrap();
        libtorch(folder.path(), HEADER);
        assert!(inspect(folder.path(), Origin::Cache).is_ok());
        write(folder.path(), "build-version", "2.13.0+cu130\n");
        assert!(inspect(folder.path(), Origin::Cache).is_ok());
        write(folder.path(), "build-version", "2.4.1+cpu\n");
        let error = inspect(folder.path(), Origin::Cache).unwrap_err().to_string();
        assert!(error.contains("expected libtorch 2.13.0") && error.contains("found 2.4.1+cpu"), "{error}");
    }

    #[test]
    fn a_folder_without_libraries_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        libtorch(folder.path(), HEADER);
        fs::remove_dir_all(folder.path().join("lib")).unwrap();
        let error = inspect(folder.path(), Origin::Cache).unwrap_err().to_string();
        assert!(error.contains("is not a libtorch: it has no"), "{error}");
    }

    #[test]
    fn the_environment_comes_first_and_must_be_right() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (named, cached) = (folder.join("named"), folder.join("cache/libtorch-2.13.0-cpu"));
        libtorch(&named, HEADER);
        libtorch(&cached, HEADER);
        let mut search = search(&folder);
        assert_eq!(search.find(Build::Any).unwrap().unwrap().root, cached);
        search.libtorch = Some(named.clone());
        assert_eq!(search.find(Build::Any).unwrap().unwrap().root, named);
        write(&named, "build-version", "2.5.0");
        let error = format!("{:#}", search.find(Build::Any).unwrap_err());
        assert!(error.contains("LIBTORCH=") && error.contains("found 2.5.0"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_the_environment_names_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (real, link) = (folder.join("real"), folder.join("other"));
        libtorch(&real, HEADER);
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let search = Search { libtorch: Some(link), ..search(&folder) };
        assert_eq!(search.find(Build::Any).unwrap().unwrap().root, real);
    }

    #[cfg(unix)]
    #[test]
    fn an_earlier_setup_stays_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let gpu = folder.path().join("cache/libtorch-2.13.0-cuda/torch");
        libtorch(&gpu, HEADER);
        write(&gpu, "lib/libtorch_cuda.so", "");
        libtorch(&folder.path().join("cache/libtorch-2.13.0-cpu"), HEADER);
        let search = search(folder.path());
        assert!(!search.find(Build::Any).unwrap().unwrap().cuda);
        assert!(search.find(Build::Cuda).unwrap().unwrap().cuda);
        std::os::unix::fs::symlink(&gpu, &search.link).unwrap();
        assert!(search.find(Build::Any).unwrap().unwrap().cuda);
        fs::remove_dir_all(&gpu).unwrap();
        assert!(!search.find(Build::Any).unwrap().unwrap().cuda);
    }

    #[cfg(unix)]
    #[test]
    fn python_is_asked_without_importing_torch() {
        let folder = tempfile::tempdir().unwrap();
        let torch = folder.path().join("site-packages/torch");
        libtorch(&torch, HEADER);
        let mut search = search(folder.path());
        let python = |version: &str| {
            let text = format!("echo {version}\necho {}", torch.display());
            crate::testing::script(folder.path(), "python3", &text)
        };
        search.python = python("2.13.0+cpu");
        assert_eq!(search.find(Build::Any).unwrap().unwrap().origin, Origin::Python);
        python("2.12.0");
        assert_eq!(search.find(Build::Any).unwrap(), None);
    }

    #[test]
    fn nothing_found_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(search(folder.path()).find(Build::Any).unwrap(), None);
    }
}
