//! The modules of a crate as its source has them: files, items, imports, and the paths in their code.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, File, ForeignItem, Item, Meta, UseTree, Visibility};

/// The segments of a path.
pub(crate) type Segments = Vec<String>;

/// A module tree; the first module is the crate's root.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    pub(crate) all: Vec<Module>,
    /// The modules that define macros by example, whose names go beyond their module.
    pub(crate) macros: HashMap<String, usize>,
}

#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) file: PathBuf,
    pub(crate) parent: Option<usize>,
    pub(crate) children: HashMap<String, usize>,
    /// Functions, types, traits and constants that are defined here.
    pub(crate) items: HashSet<String>,
    pub(crate) imports: Vec<Import>,
    pub(crate) globs: Vec<Segments>,
    /// Every path in the code, with one segment or more.
    pub(crate) paths: HashSet<Segments>,
}

/// A name that a `use` brings into scope.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) path: Segments,
    pub(crate) reexport: bool,
}

impl Modules {
    /// Reads a crate from its root file on. Code that only tests compile is left out.
    pub(crate) fn read(root: &Path) -> Self {
        let mut modules = Modules::default();
        modules.all.push(Module { file: root.to_owned(), ..Module::default() });
        modules.read_file(0, &folder_of(root));
        modules
    }

    /// Adds what the file of a module has; `folder` is where the files of its children are.
    fn read_file(&mut self, module: usize, folder: &Path) {
        let file = self.all[module].file.clone();
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let File { items, .. } = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add(module, folder, &items);
    }

    fn add(&mut self, module: usize, folder: &Path, items: &[Item]) {
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            self.all[module].items.extend(names(item));
            if let Item::Macro(syn::ItemMacro { ident: Some(name), .. }) = item {
                self.macros.insert(name.to_string(), module);
            }
            if let Item::Mod(child) = item {
                self.add_child(module, folder, child);
            } else {
                self.all[module].visit_item(item);
            }
        }
    }

    fn add_child(&mut self, parent: usize, folder: &Path, child: &syn::ItemMod) {
        let name = child.ident.to_string();
        let index = self.all.len();
        let mut module = Module { parent: Some(parent), ..Module::default() };
        if let Some((_, items)) = &child.content {
            module.file.clone_from(&self.all[parent].file);
            self.all.push(module);
            self.add(index, &folder.join(&name), items);
        } else {
            let candidates = [
                path_attribute(&child.attrs).map(|path| folder.join(path)),
                Some(folder.join(format!("{name}.rs"))),
                Some(folder.join(&name).join("mod.rs")),
            ];
            let Some(file) = candidates.into_iter().flatten().find(|file| file.is_file()) else {
                panic!("{} has no file for `mod {name}`", self.all[parent].file.display());
            };
            if file.file_name().is_some_and(|name| name == "tests.rs") {
                return;
            }
            let folder = folder_of(&file);
            module.file = file;
            self.all.push(module);
            self.read_file(index, &folder);
        }
        self.all[parent].children.insert(name, index);
    }
}

/// The folder of the files of a file's child modules.
fn folder_of(file: &Path) -> PathBuf {
    let is_root = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| file.ends_with(name));
    if is_root { file.with_file_name("") } else { file.with_extension("") }
}

impl Module {
    fn add_imports(&mut self, tree: &UseTree, prefix: &[String], reexport: bool) {
        let joined = |name: String| prefix.iter().cloned().chain([name]).collect::<Segments>();
        match tree {
            UseTree::Path(tree) => self.add_imports(&tree.tree, &joined(tree.ident.to_string()), reexport),
            UseTree::Group(tree) => {
                tree.items.iter().for_each(|item| self.add_imports(item, prefix, reexport));
            }
            UseTree::Glob(_) => self.globs.push(prefix.to_vec()),
            UseTree::Name(tree) => self.add_import(None, joined(tree.ident.to_string()), reexport),
            UseTree::Rename(tree) => {
                self.add_import(Some(tree.rename.to_string()), joined(tree.ident.to_string()), reexport);
            }
        }
    }

    fn add_import(&mut self, name: Option<String>, mut path: Segments, reexport: bool) {
        if path.len() > 1 {
            path.pop_if(|last| last == "self");
        }
        if let Some(name) = name.or_else(|| path.last().cloned()) {
            self.imports.push(Import { name, path, reexport });
        }
    }

    /// Takes paths from tokens that nobody has parsed: the arguments of macros and attributes.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                // `$crate` is the crate.
                TokenTree::Punct(punct) if punct.as_char() == '$' => self.end_of(&mut path, &mut colons),
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_of(&mut path, &mut colons);
                    }
                    colons = 0;
                    path.push(ident.to_string());
                }
                token => {
                    self.end_of(&mut path, &mut colons);
                    if let TokenTree::Group(group) = token {
                        self.scan(group.stream());
                    }
                }
            }
        }
        self.end_of(&mut path, &mut colons);
    }

    fn end_of(&mut self, path: &mut Segments, colons: &mut usize) {
        *colons = 0;
        if !path.is_empty() {
            self.paths.insert(std::mem::take(path));
        }
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.add_imports(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.scan(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }

    /// `pub(in super::super)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The names that an item defines, but for modules and imports.
fn names(item: &Item) -> Vec<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::ForeignMod(item) => return item.items.iter().filter_map(foreign_name).collect(),
        _ => return Vec::new(),
    };
    vec![name.to_string()]
}

fn foreign_name(item: &ForeignItem) -> Option<String> {
    match item {
        ForeignItem::Fn(item) => Some(item.sig.ident.to_string()),
        ForeignItem::Static(item) => Some(item.ident.to_string()),
        ForeignItem::Type(item) => Some(item.ident.to_string()),
        _ => None,
    }
}

/// Whether an item is compiled for tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
        let condition = list.tokens.to_string().replace(' ', "");
        attribute.path().is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
    })
}

/// The file that `#[path = "..."]` names.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}
