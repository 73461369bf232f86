//! Lets `gen` find libtorch when it starts.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Manifests and feature networks are compiled in: a new one is a reason to build again.
    println!("cargo:rerun-if-changed=../../datasets");
    println!("cargo:rerun-if-changed=features");
    if let Ok(folder) = std::env::var("DEP_GEN_CORE_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
