//! Compiles the C++ against the libtorch that torch-sys found, and hands on the folder of libtorch.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Loops for one instruction set. They do not use libtorch.
struct Loops {
    /// Name of the instruction set, and of the functions that return the loops.
    name: &'static str,
    /// Bytes of a vector.
    bytes: u32,
    sources: &'static [&'static str],
    flags: &'static [&'static str],
}

/// The instruction sets; any processor has the first one.
const LOOPS: [Loops; 4] = [
    Loops { name: "portable", bytes: 16, sources: &["flow/loops", "likelihood/loops"], flags: &[] },
    Loops {
        name: "avx2",
        bytes: 32,
        sources: &["conv/avx2", "flow/loops", "likelihood/loops", "norm/loops"],
        flags: &["-mavx2", "-mfma"],
    },
    Loops {
        name: "avx512",
        bytes: 64,
        sources: &["conv/avx512", "flow/loops", "likelihood/loops", "norm/loops"],
        flags: &["-mavx512f", "-mfma"],
    },
    Loops {
        name: "avx512_bf16",
        bytes: 64,
        sources: &["conv/avx512_bf16"],
        flags: &["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512bf16", "-mfma"],
    },
];

/// All other files, in four translation units: the compiler spends more time on libtorch's headers than on our code.
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
            "forward",
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

/// Part of the version text, and series, of the compiler that compiles our code without a warning. With this compiler a
/// warning is an error. With other compilers it stays a warning, so that they can build the crate too.
const WITHOUT_WARNINGS: (&str, &str) = ("Free Software Foundation", "12");

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=native");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo:rerun-if-env-changed=GEN_SANITIZE");
    println!("cargo:rustc-check-cfg=cfg(sanitized)");
    let Ok(lib) = env::var("DEP_TCH_LIBTORCH_LIB") else {
        // torch-sys looks for no libtorch when documentation is built.
        return;
    };
    if is_clippy() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let root = env::var("LIBTORCH_INCLUDE").map_or_else(|_| parent(&lib), PathBuf::from);
    let include = root.join("include");
    let x86_64 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    let sanitizer = env::var("GEN_SANITIZE").ok().filter(|name| !name.is_empty());
    // Line numbers only, as for the Rust of this workspace: most debug information would be types of libtorch.
    // Sanitizers need them to name lines.
    let lines = env::var("DEBUG").is_ok_and(|debug| debug == "true") || sanitizer.is_some();
    let cpp = |optimised: u32| {
        let mut build = cc::Build::new();
        // A square root that sets errno cannot be vectorised.
        build.cpp(true).std("c++20").opt_level(optimised).flag_if_supported("-fno-math-errno");
        build.warnings(true).extra_warnings(true);
        build.debug(false);
        if lines {
            build.flag_if_supported("-g1");
        }
        if let Some(name) = &sanitizer {
            // The code that a sanitizer adds causes warnings of its own, which must not be errors.
            sanitize(&mut build, name);
        } else if x86_64 && is_without_warnings(&build.get_compiler()) {
            build.warnings_into_errors(true);
        }
        build
    };
    // The same loops for several instruction sets; the program chooses one at run time. Training spends its time in
    // them, so they are fully optimised in debug builds too.
    for Loops { name, bytes, sources, flags } in LOOPS.into_iter().take(if x86_64 { LOOPS.len() } else { 1 }) {
        // A folder for each, since the objects of one source have one name.
        cpp(3)
            .out_dir(out.join(name))
            .define("GEN_INSTRUCTION_SET", name)
            .define("GEN_VECTOR_BYTES", bytes.to_string().as_str())
            .flags(flags)
            .files(sources.iter().map(|source| format!("native/{source}.cpp")))
            .compile(&format!("gen_native_{name}"));
    }
    // The callers of the loops are optimised at least a little: libtorch's templates are slow without optimisation.
    let profile = env::var("OPT_LEVEL").ok().and_then(|level| level.parse().ok());
    let mut build = cpp(profile.unwrap_or(3).max(1));
    // System headers, since we cannot fix warnings in libtorch's headers.
    for folder in [&include, &include.join("torch/csrc/api/include")] {
        build.flag("-isystem").flag(folder);
    }
    build
        .define("_GLIBCXX_USE_CXX11_ABI", env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        // libtorch's threads, if they are OpenMP threads.
        .flag_if_supported("-fopenmp")
        .include("native")
        .files(UNITS.iter().map(|(name, sources)| unit(&out, name, sources)));
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

/// Whether Clippy runs this script. Clippy links nothing, so nothing has to be compiled. Cargo runs the script again
/// for the compiler.
fn is_clippy() -> bool {
    let wrapper = env::var_os("RUSTC_WORKSPACE_WRAPPER").map(PathBuf::from);
    wrapper.and_then(|path| path.file_stem().map(|name| name == "clippy-driver")).unwrap_or(false)
}

/// Writes a file that includes the sources, and returns its path.
fn unit(folder: &Path, name: &str, sources: &[&str]) -> PathBuf {
    let path = folder.join(format!("{name}.cpp"));
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

/// Adds the flags of a sanitizer: `address`, which includes undefined behaviour, or `thread`.
/// `cargo xtask test --sanitize` sets GEN_SANITIZE to one of them.
fn sanitize(build: &mut cc::Build, name: &str) {
    // Frame pointers give reports whole stacks. A low optimisation level saves time, since each loop is compiled for
    // many sizes.
    build.opt_level(1).flag("-fno-omit-frame-pointer");
    match name {
        // vptr checks need type information that libtorch hides.
        "address" => build.flag("-fsanitize=address,undefined,float-cast-overflow").flag("-fno-sanitize=vptr"),
        "thread" => build.flag("-fsanitize=thread"),
        _ => panic!("GEN_SANITIZE is `{name}`: it may be address or thread"),
    };
}

/// Links the sanitizer's library into this package and its dependents. The library must be loaded before all others, so
/// programs are started with it in LD_PRELOAD.
fn link_sanitizer(name: &str) {
    let libraries: &[&str] = if name == "address" { &["asan", "ubsan"] } else { &["tsan"] };
    for library in libraries {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
    println!("cargo:rustc-cfg=sanitized");
}
