//! Which file uses an item of which other, and where that leads in circles.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

use super::modules::{Modules, Segments};

/// The names for which one file uses another.
pub(crate) type Arrows<'m> = BTreeMap<(&'m Path, &'m Path), BTreeSet<String>>;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(usize),
    /// An item that this module defines.
    ItemOf(usize),
}

/// Names on the way of a search, so that imports of each other end.
type Visited = HashSet<(usize, String)>;

impl Modules {
    /// The files of the crate that use items of others.
    ///
    /// A re-export of what lies in a module below uses nothing; who uses the name uses the file that defines the item.
    pub(crate) fn arrows(&self) -> Arrows<'_> {
        let mut arrows = Arrows::new();
        let mut add = |from: usize, path: &Segments, is_reexport: bool| {
            let Some(Target::ItemOf(to)) = self.resolve(from, path, &mut Visited::new()) else { return };
            let (file, other) = (&self.all[from].file, &self.all[to].file);
            if file != other && !(is_reexport && self.is_below(to, from)) {
                arrows.entry((file, other)).or_default().insert(path.join("::"));
            }
        };
        for (index, module) in self.all.iter().enumerate() {
            module.imports.iter().for_each(|import| add(index, &import.path, import.reexport));
            module.paths.iter().for_each(|path| add(index, path, false));
        }
        arrows
    }

    fn is_below(&self, module: usize, ancestor: usize) -> bool {
        std::iter::successors(Some(module), |module| self.all[*module].parent).any(|module| module == ancestor)
    }

    /// `None` for what other crates define.
    fn resolve(&self, module: usize, path: &[String], visited: &mut Visited) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let is_last = rest.is_empty();
        let mut target = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(module),
            "super" => Target::Module(self.all[module].parent?),
            name => self.find(module, name, is_last, visited)?,
        };
        for (index, name) in rest.iter().enumerate() {
            let Target::Module(inside) = target else { break };
            target = match name.as_str() {
                "super" => Target::Module(self.all[inside].parent?),
                "self" => target,
                // A name that is not found is made by a macro there.
                name => self.find(inside, name, index + 1 == rest.len(), visited).unwrap_or(Target::ItemOf(inside)),
            };
        }
        Some(target)
    }

    /// A name in the scope of a module. A function may have the name of a module: it comes first where a path ends.
    fn find(&self, index: usize, name: &str, is_last: bool, visited: &mut Visited) -> Option<Target> {
        if !visited.insert((index, name.to_owned())) {
            return None;
        }
        let module = &self.all[index];
        let item = module.items.contains(name).then_some(Target::ItemOf(index));
        let child = module.children.get(name).map(|child| Target::Module(*child));
        let import = || {
            let import = module.imports.iter().find(|import| import.name == name)?;
            // What another crate defines is a name of this module nevertheless.
            Some(self.resolve(index, &import.path, visited).unwrap_or(Target::ItemOf(index)))
        };
        let own = if is_last { item.or(child) } else { child.or(item) }.or_else(import);
        own.or_else(|| {
            module.globs.iter().find_map(|path| match self.resolve(index, path, visited)? {
                Target::Module(other) => self.find(other, name, is_last, visited),
                Target::ItemOf(_) => None,
            })
        })
        .or_else(|| self.macros.get(name).map(|module| Target::ItemOf(*module)))
    }
}

/// Files that use each other, directly or on the way through others: each circle in order of names.
pub(crate) fn circles<'m>(arrows: &Arrows<'m>) -> Vec<Vec<&'m Path>> {
    let graph: DiGraphMap<&Path, ()> = arrows.keys().copied().collect();
    let mut circles = tarjan_scc(&graph);
    circles.retain(|files| files.len() > 1);
    circles.iter_mut().for_each(|files| files.sort_unstable());
    circles.sort_unstable();
    circles
}
