//! Passes the folder of libtorch on, to the loader of this crate's own tests and to dependent crates; and makes a number
//! that changes with the code of the metrics.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(folder) = env::var("DEP_GEN_NATIVE_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
        println!("cargo:libtorch_lib={folder}");
    }

    // What an evaluation keeps of the real side must not outlive the code that computed it.
    let metrics = Path::new("src/eval");
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
