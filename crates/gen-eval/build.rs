//! Lets this crate's tests find libtorch when they start, and makes a number that changes with the code of the metrics.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(folder) = env::var("DEP_GEN_CORE_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }

    // What an evaluation keeps of the real side must not outlive the code that computed it.
    let metrics = Path::new("src");
    println!("cargo:rerun-if-changed={}", metrics.display());
    let mut files = Vec::new();
    list(metrics, &mut files)?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        fs::read(file)?.hash(&mut hasher);
    }
    println!("cargo:rustc-env=GEN_EVAL_REVISION={:016x}", hasher.finish());
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
