//! Compiles the C++ against exactly the libtorch that torch-sys found, and passes its folder on.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files of loops, which know nothing of libtorch: the folders that have one, and the instructions that they may use.
const KERNELS: [(&str, &[&str], &[&str]); 4] = [
    (PORTABLE, &["flow", "likelihood"], &[]),
    ("avx2", &["conv", "flow", "likelihood", "norm"], &["-mavx2", "-mfma"]),
    ("avx512", &["conv", "flow", "likelihood", "norm"], &["-mavx512f", "-mfma"]),
    ("avx512_bf16", &["conv"], &["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512bf16", "-mfma"]),
];

/// Loops for any processor.
const PORTABLE: &str = "portable";

/// Everything else, in as many translation units: libtorch's headers take longer to read than all that follows them.
const UNITS: [(&str, &[&str]); 4] = [
    (
        "flow",
        &[
            "flow/autoregressive",
            "flow/channels",
            "flow/common",
            "flow/composed",
            "flow/coupling",
            "flow/mixing",
            "flow/perceptron",
            "flow/spline",
        ],
    ),
    ("conv", &["conv/conv", "conv/passes", "conv/rolling", "conv/stack"]),
    ("norm", &["norm/norm", "norm/passes", "norm/composed", "likelihood/likelihood"]),
    (
        "process",
        &[
            "native",
            "custom",
            "generator",
            "gradients",
            "instructions",
            "layout",
            "memory",
            "operands",
            "optim",
        ],
    ),
];

/// A part of what the compiler calls itself that is known to have no warning for us, and its series: with it a new
/// warning is a mistake of ours, and an error. With others it remains a warning, so that they build this too.
const WITHOUT_WARNINGS: (&str, &str) = ("Free Software Foundation", "12");

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=native");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo:rerun-if-env-changed=GEN_SANITIZE");
    println!("cargo:rustc-check-cfg=cfg(sanitized)");
    let Ok(lib) = env::var("DEP_TCH_LIBTORCH_LIB") else {
        // torch-sys looked for no libtorch: documentation is being built.
        return;
    };
    if is_clippy() {
        return;
    }
    let root = env::var("LIBTORCH_INCLUDE").map_or_else(|_| parent(&lib), PathBuf::from);
    let include = root.join("include");
    let x86_64 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let sanitizer = env::var("GEN_SANITIZE").ok().filter(|name| !name.is_empty());
    // Lines alone, as of the Rust in this workspace: types of libtorch's headers are most of all that could be told.
    let lines = env::var("DEBUG").is_ok_and(|debug| debug == "true");
    let cpp = |optimised: u32| {
        let mut build = cc::Build::new();
        // A square root tells nobody of a negative number, so that vectors have one.
        build.cpp(true).std("c++20").opt_level(optimised).flag_if_supported("-fno-math-errno");
        build.warnings(true).extra_warnings(true);
        build.debug(false);
        if lines {
            build.flag_if_supported("-g1");
        }
        if let Some(name) = &sanitizer {
            // Warnings are then of what the sanitizer adds.
            sanitize(&mut build, name);
        } else if x86_64 && is_without_warnings(&build.get_compiler()) {
            build.warnings_into_errors(true);
        }
        build
    };
    // The same loops for several kinds of processors; which one runs is decided when the program does. They take the
    // time of training: they are as fast in a debug build.
    for (name, folders, flags) in KERNELS.into_iter().filter(|(name, ..)| x86_64 || *name == PORTABLE) {
        let mut build = cpp(3);
        for flag in flags {
            build.flag(flag);
        }
        build
            .files(folders.iter().map(|folder| format!("native/{folder}/{name}.cpp")))
            .compile(&format!("gen_native_{name}"));
    }
    // What calls them, a little in any build: libtorch's templates are slow to optimise, and slow without.
    let profile = env::var("OPT_LEVEL").ok().and_then(|level| level.parse().ok());
    let mut build = cpp(profile.unwrap_or(3).max(1));
    // The warnings of libtorch's headers are not ours to mend.
    for folder in [&include, &include.join("torch/csrc/api/include")] {
        build.flag("-isystem").flag(folder);
    }
    build
        .define("_GLIBCXX_USE_CXX11_ABI", env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        // libtorch's own threads, where they are those of OpenMP.
        .flag_if_supported("-fopenmp")
        .include("native")
        .files(UNITS.iter().map(|(name, sources)| unit(name, sources)));
    if let Some(name) = &sanitizer {
        build.file("native/sanitize/faults.cpp");
        if name == "thread" {
            build.file("native/sanitize/openmp.cpp");
        }
    }
    build.compile("gen_native");
    if let Some(name) = &sanitizer {
        link_sanitizer(name);
    }
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo:libtorch_lib={lib}");
}

/// Whether Clippy asks, which links nothing. Cargo runs this program once for it and once for the compiler.
fn is_clippy() -> bool {
    let wrapper = env::var_os("RUSTC_WORKSPACE_WRAPPER").map(PathBuf::from);
    wrapper.and_then(|path| path.file_stem().map(|name| name == "clippy-driver")).unwrap_or(false)
}

/// A file that includes these.
fn unit(name: &str, sources: &[&str]) -> PathBuf {
    let path = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join(format!("{name}.cpp"));
    let text: String = sources.iter().map(|source| format!("#include \"{source}.cpp\"\n")).collect();
    std::fs::write(&path, text).expect("cargo's folder can be written");
    path
}

fn parent(folder: &str) -> PathBuf {
    Path::new(folder).parent().unwrap_or(Path::new("")).to_owned()
}

fn is_without_warnings(compiler: &cc::Tool) -> bool {
    let said = |argument: &str| {
        let output = Command::new(compiler.path()).arg(argument).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    let (name, version) = (said("--version"), said("-dumpversion"));
    let series = version.trim().split('.').next().unwrap_or_default();
    let (calls_itself, known) = WITHOUT_WARNINGS;
    name.contains(calls_itself) && series == known
}

/// `cargo xtask test --sanitize` sets GEN_SANITIZE: address, which looks for what is undefined too, or thread.
fn sanitize(build: &mut cc::Build, name: &str) {
    // Reports name lines and whole stacks. Optimised a little, since each loop is compiled for many sizes.
    build.opt_level(1).flag("-g1").flag("-fno-omit-frame-pointer");
    match name {
        // Whether an object has the type it says cannot be asked of libtorch's, whose types are hidden.
        "address" => {
            build.flag("-fsanitize=address,undefined,float-cast-overflow").flag("-fno-sanitize=vptr")
        }
        "thread" => build.flag("-fsanitize=thread"),
        _ => panic!("GEN_SANITIZE is `{name}`: it may be address or thread"),
    };
}

/// Everything in this package, and what links it, gets the sanitizer's library, which must be loaded before all others:
/// programs are started with it in LD_PRELOAD.
fn link_sanitizer(name: &str) {
    let libraries: &[&str] = if name == "address" { &["asan", "ubsan"] } else { &["tsan"] };
    for library in libraries {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
    println!("cargo:rustc-cfg=sanitized");
}
