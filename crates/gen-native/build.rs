//! Compiles the C++ against exactly the libtorch that torch-sys found, and passes its folder on.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=native");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    let Ok(lib) = env::var("DEP_TCH_LIBTORCH_LIB") else {
        // torch-sys looked for no libtorch: documentation is being built.
        return;
    };
    let root = env::var("LIBTORCH_INCLUDE").map_or_else(|_| parent(&lib), PathBuf::from);
    let include = root.join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        .opt_level(3)
        // The warnings of libtorch's headers are not ours to mend.
        .warnings(false)
        .file("native/native.cpp")
        .compile("gen_native");
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:libtorch_lib={lib}");
}

fn parent(folder: &str) -> PathBuf {
    Path::new(folder).parent().unwrap_or(Path::new("")).to_owned()
}
