//! Wheels from `pip download`, since pip knows the user's mirrors, certificates and caches.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::release::Build;
use super::wheel::Requirement;
use crate::process;

/// Whether this interpreter has pip.
pub(super) fn is_there(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether to download the dependencies too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dependencies {
    No,
    Yes,
}

/// Downloads wheels into `folder`, with pip's own progress.
pub(super) fn download(
    python: &Path,
    requirements: &[String],
    dependencies: Dependencies,
    folder: &Path,
) -> Result<()> {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--only-binary=:all:", "--dest"]).arg(folder);
    if dependencies == Dependencies::No {
        command.arg("--no-deps");
    }
    command.args(requirements);
    command.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INPUT", "1");
    // Standard output is for the result of the command.
    command.stdout(Stdio::from(std::io::stderr()));
    let status = process::run(&mut command)?;
    if !status.success() {
        bail!("`pip download {}` failed ({status})", requirements.join(" "));
    }
    Ok(())
}

/// The wheel of `distribution` in `folder`.
pub(super) fn wheel_of(distribution: &str, folder: &Path) -> Result<PathBuf> {
    let prefix = format!("{distribution}-");
    wheels(folder)?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .with_context(|| format!("pip left no wheel of {distribution} in {}", folder.display()))
}

/// All wheels in `folder`.
pub(super) fn wheels(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut wheels = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
    wheels.sort();
    Ok(wheels)
}

/// Which of torch's requirements libtorch itself has, as pip takes them.
///
/// The versions are those that torch names, also where it names them through the extras of `cuda-toolkit`. The CPU
/// part of a build for GPUs needs two libraries only: the CUDA runtime and the profiler's.
pub(super) fn native_requirements(torch: &[Requirement], build: Build) -> Vec<String> {
    let mut native = Vec::new();
    for requirement in torch.iter().filter(|requirement| !requirement.is_optional()) {
        let name = requirement.name.as_str();
        if build == Build::Cuda {
            if name == "cuda-toolkit" || name.starts_with("nvidia-") {
                native.push(requirement.to_string());
            }
        } else if name == "cuda-toolkit" {
            let extras = requirement.extras.iter().filter(|extra| ["cudart", "cupti"].contains(&extra.as_str()));
            native.push(Requirement { extras: extras.cloned().collect(), ..requirement.clone() }.to_string());
        } else if name.starts_with("nvidia-cuda-runtime") || name.starts_with("nvidia-cuda-cupti") {
            native.push(requirement.to_string());
        }
    }
    native
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torch(lines: &[&str]) -> Vec<Requirement> {
        lines.iter().map(|line| Requirement::parse(line).unwrap()).collect()
    }

    const PRESENT: [&str; 5] = [
        "sympy>=1.13.3",
        "cuda-toolkit[cublas,cudart,cupti,nvtx]==13.0.3; platform_system == \"Linux\"",
        "nvidia-cudnn-cu13==9.20.0.48; platform_system == \"Linux\"",
        "triton==3.7.1; platform_system == \"Linux\"",
        "nvidia-debugger==1; extra == \"debug\"",
    ];

    #[test]
    fn the_cpu_part_needs_two_libraries_at_torchs_versions() {
        assert_eq!(
            native_requirements(&torch(&PRESENT), Build::Any),
            ["cuda-toolkit[cudart,cupti]==13.0.3; platform_system == \"Linux\""]
        );
        let direct = ["nvidia-cuda-runtime-cu12==12.8.90", "nvidia-cuda-cupti-cu12==12.8.90", "nvidia-nccl-cu12==2"];
        assert_eq!(native_requirements(&torch(&direct), Build::Any), direct[..2]);
    }

    #[test]
    fn gpus_need_all_libraries_and_no_python_packages() {
        assert_eq!(native_requirements(&torch(&PRESENT), Build::Cuda), PRESENT[1..3]);
    }
}
