//! Files of a crate do not use each other in circles: what two of them need has a file of its own.

mod arrows;
mod modules;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use self::arrows::circles;
use self::modules::Modules;

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
    for circle in &found {
        write!(problems, "these files use each other: {:?}\n{}", circle.files, circle.arrows).expect("text");
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
