//! Lets `gen` find libtorch when it starts.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Manifests and feature networks are compiled in: a new one is a reason to build again.
    println!("cargo:rerun-if-changed=../../datasets");
    println!("cargo:rerun-if-changed=features");
    if let Ok(folder) = std::env::var("DEP_GEN_CORE_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
        // The GPU library registers itself when it is loaded; as no symbol of it is named, a linker would drop it.
        if Path::new(&folder).join("libtorch_cuda.so").exists() {
            println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
            println!("cargo:rustc-link-arg=-ltorch_cuda");
        }
    }
}
