//! Files of a crate do not use each other in circles: what two of them need has a file of its own.

#[path = "circles/arrows.rs"]
mod arrows;
#[path = "circles/modules.rs"]
mod modules;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use arrows::circles;
use modules::Modules;

/// Circles that are still to be removed. A circle may lose files and fall into several; none may be added.
const KNOWN: &[&[&str]] = &[
    &[
        "crates/gen-cli/src/cache.rs",
        "crates/gen-cli/src/catalog.rs",
        "crates/gen-cli/src/checkpoint.rs",
        "crates/gen-cli/src/commands/bench.rs",
        "crates/gen-cli/src/commands/compare.rs",
        "crates/gen-cli/src/commands/data.rs",
        "crates/gen-cli/src/commands/density.rs",
        "crates/gen-cli/src/commands/evaluate/mod.rs",
        "crates/gen-cli/src/commands/evaluate/progress.rs",
        "crates/gen-cli/src/commands/evaluate/samples.rs",
        "crates/gen-cli/src/commands/features/check.rs",
        "crates/gen-cli/src/commands/features/mod.rs",
        "crates/gen-cli/src/commands/features/train.rs",
        "crates/gen-cli/src/commands/interpolate.rs",
        "crates/gen-cli/src/commands/latent.rs",
        "crates/gen-cli/src/commands/mod.rs",
        "crates/gen-cli/src/commands/nearest.rs",
        "crates/gen-cli/src/commands/ood/files.rs",
        "crates/gen-cli/src/commands/ood/mod.rs",
        "crates/gen-cli/src/commands/ood/table.rs",
        "crates/gen-cli/src/commands/sample.rs",
        "crates/gen-cli/src/commands/train/place.rs",
        "crates/gen-cli/src/commands/train.rs",
        "crates/gen-cli/src/commands/trajectory.rs",
        "crates/gen-cli/src/main.rs",
        "crates/gen-cli/src/progress.rs",
        "crates/gen-cli/src/spaces.rs",
        "crates/gen-cli/src/trained.rs",
    ],
    &["crates/gen-core/src/data/catalog.rs", "crates/gen-core/src/data/own.rs"],
    &["crates/gen-core/src/data/csv/likely.rs", "crates/gen-core/src/data/csv/mod.rs"],
    &["crates/gen-core/src/data/fetch.rs", "crates/gen-core/src/data/source.rs"],
    &["crates/gen-core/src/data/mod.rs", "crates/gen-core/src/data/spec.rs"],
    &[
        "crates/gen-core/src/data/points/density.rs",
        "crates/gen-core/src/data/points/mod.rs",
        "crates/gen-core/src/data/points/sample.rs",
    ],
    &[
        "crates/gen-core/src/eval/features/mod.rs",
        "crates/gen-core/src/eval/features/network.rs",
        "crates/gen-core/src/eval/features/random.rs",
    ],
    &["crates/gen-core/src/eval/protocol/comparison.rs", "crates/gen-core/src/eval/protocol/space.rs"],
    &["crates/gen-core/src/eval/protocol/mod.rs", "crates/gen-core/src/eval/protocol/sampling.rs"],
    &[
        "crates/gen-core/src/model.rs",
        "crates/gen-core/src/train/trainer.rs",
        "crates/gen-core/src/train/validation.rs",
    ],
    &["crates/gen-core/src/ode/recording.rs", "crates/gen-core/src/ode.rs"],
    &["crates/gen-diffusion/src/network.rs", "crates/gen-diffusion/src/unet.rs"],
    &["crates/gen-flow/src/bijection/coupling.rs", "crates/gen-flow/src/univariate.rs"],
    &["crates/gen-flow/src/images.rs", "crates/gen-flow/src/points.rs"],
    &["crates/gen-report/src/direction.rs", "crates/gen-report/src/measures.rs"],
    &["crates/gen-report/src/metrics.rs", "crates/gen-report/src/runs.rs"],
    &[
        "crates/gen-report/src/page/headline.rs",
        "crates/gen-report/src/page/memorisation.rs",
        "crates/gen-report/src/page/mod.rs",
        "crates/gen-report/src/page/protocol.rs",
        "crates/gen-report/src/page/rankings.rs",
        "crates/gen-report/src/page/samples.rs",
        "crates/gen-report/src/page/spaces.rs",
        "crates/gen-report/src/page/table.rs",
    ],
];

/// A circle, and for each of its arrows the names that make it.
struct Circle {
    files: Vec<String>,
    arrows: String,
}

/// The circles below the `src` of a crate, with files as seen from `root`.
fn circles_of(package: &Path, root: &Path) -> Vec<Circle> {
    let source = package.join("src");
    let mut roots: Vec<PathBuf> = ["lib.rs", "main.rs"].iter().map(|name| source.join(name)).collect();
    roots.extend(source.join("bin").read_dir().into_iter().flatten().map(|entry| entry.expect("an entry").path()));
    let mut found = Vec::new();
    for file in roots.iter().filter(|file| file.is_file()) {
        let modules = Modules::read(file);
        let arrows = modules.arrows();
        let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        for circle in circles(&arrows) {
            let mut text = String::new();
            let inside = |path: &&Path| circle.contains(path);
            for ((from, to), names) in arrows.iter().filter(|((from, to), _)| inside(from) && inside(to)) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                writeln!(text, "    {} -> {}: {}", name(from), name(to), names.join(", ")).expect("text");
            }
            found.push(Circle { files: circle.iter().map(|path| name(path)).collect(), arrows: text });
        }
    }
    found
}

#[test]
fn no_file_uses_another_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace");
    let crates = root.join("crates").read_dir().expect("there are crates");
    let mut packages: Vec<PathBuf> = crates.map(|entry| entry.expect("an entry").path()).collect();
    packages.push(root.join("xtask"));
    packages.sort();
    let found: Vec<Circle> = packages.iter().flat_map(|package| circles_of(package, root)).collect();

    let mut problems = String::new();
    let is_inside = |circle: &Circle, known: &[&str]| circle.files.iter().all(|file| known.contains(&&**file));
    for circle in found.iter().filter(|circle| !KNOWN.iter().any(|known| is_inside(circle, known))) {
        write!(problems, "these files use each other: {:?}\n{}", circle.files, circle.arrows).expect("text");
    }
    for known in KNOWN {
        let there: Vec<&Circle> = found.iter().filter(|circle| is_inside(circle, known)).collect();
        let is_there = |file: &&&str| there.iter().any(|circle| circle.files.iter().any(|other| other == **file));
        let gone: Vec<&&str> = known.iter().filter(|file| !is_there(file)).collect();
        if !gone.is_empty() {
            writeln!(problems, "remove from KNOWN what is in this circle no longer: {gone:?}").expect("text");
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

/// The circles of a crate with these files.
fn planted(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join("src").join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }
    let prefix = folder.path().join("src");
    circles_of(folder.path(), &prefix).into_iter().map(|circle| circle.files).collect()
}

#[test]
fn two_files_that_use_each_other_are_found() {
    let root = ("lib.rs", "mod a; mod b;");
    let a = ("a.rs", "use super::b::{B, self}; pub struct A(B); pub fn f() {}");
    for b in ["use crate::a::A; pub struct B;", "pub struct B; fn g() { vec![crate::a::f()]; }"] {
        assert_eq!(planted(&[root, a, ("b.rs", b)]), [["a.rs", "b.rs"]], "{b}");
    }
    assert!(planted(&[root, a, ("b.rs", "pub struct B;")]).is_empty());
}

#[test]
fn three_files_in_a_ring_are_found() {
    let ring = planted(&[
        ("main.rs", "mod a; mod b; mod c; mod d; fn main() { a::f(); }"),
        ("a.rs", "use crate::{b::{self}, d}; pub fn f() { b::g(d::i()); }"),
        ("b/mod.rs", "pub fn g() { super::c::h(); }"),
        ("c.rs", "pub fn h() { use crate::a as first; first::f(); }"),
        ("d.rs", "pub fn i() {}"),
    ]);
    assert_eq!(ring, [["a.rs", "b/mod.rs", "c.rs"]]);
}

#[test]
fn a_name_leads_through_reexports_to_the_file_that_defines_it() {
    let lib = ("lib.rs", "mod a; mod b; pub use a::A;");
    let (parent, child) = ("a/mod.rs", "a/child.rs");
    let reexports = (parent, "mod child; pub use child::A;");
    // The re-export is no use, so the child's use of its parent's sibling is no circle through the parent.
    let b = ("b.rs", "pub struct B(crate::A);");
    assert!(planted(&[lib, reexports, b, (child, "pub struct A;")]).is_empty());
    let circle = planted(&[lib, reexports, b, (child, "pub struct A; fn f(_: crate::b::B) {}")]);
    assert_eq!(circle, [[child, "b.rs"]]);
    // A re-export from elsewhere hides no circle.
    let sideways = (parent, "mod child; pub use crate::b::B; pub fn f() {}");
    let circle = planted(&[lib, sideways, ("b.rs", "pub struct B; fn g() { super::a::f(); }"), (child, "")]);
    assert_eq!(circle, [[parent, "b.rs"]]);
}

#[test]
fn a_parent_and_its_child_are_a_circle_only_both_ways() {
    let lib = ("lib.rs", "mod a;");
    let defines = "pub const N: usize = 1;";
    let uses_parent = ("a/child.rs", "use super::N; pub struct A([u8; N]);");
    let (of_parent, of_child) = (format!("mod child; pub use child::A; {defines}"), "mod child; fn f() { child::f() }");
    assert!(planted(&[lib, ("a/mod.rs", &of_parent), uses_parent]).is_empty());
    assert!(planted(&[lib, ("a/mod.rs", of_child), ("a/child.rs", "pub(in super::super) fn f() {}")]).is_empty());
    let both = format!("{of_parent} pub fn f(_: A) {{}}");
    assert_eq!(planted(&[lib, ("a/mod.rs", &both), uses_parent]), [["a/child.rs", "a/mod.rs"]]);
}

#[test]
fn globs_and_macros_count_and_tests_do_not() {
    let lib = ("lib.rs", "#[macro_use] mod a; mod b;");
    let b = ("b.rs", "pub fn g() {} fn h() { crate::a::f(); }");
    assert_eq!(planted(&[lib, b, ("a.rs", "use crate::b::*; pub fn f() { g() }")]), [["a.rs", "b.rs"]]);
    let with_macro = "macro_rules! m { () => { $crate::b::g() } } pub fn f() {}";
    assert_eq!(planted(&[lib, b, ("a.rs", with_macro)]), [["a.rs", "b.rs"]]);
    let with_tests = "pub fn f() {} #[cfg(test)] mod tests { use crate::b::g; } #[cfg(test)] use crate::b; \
                      #[cfg(test)] mod more; mod tests;";
    assert!(planted(&[lib, b, ("a.rs", with_tests), ("a/tests.rs", "use crate::b::g;")]).is_empty());
}
