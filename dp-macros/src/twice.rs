//! Notices the second block of one type, which would meet the first in a dozen places.
//!
//! A macro sees one block. It remembers the types that it has seen, and looks into the source file
//! only where a type of the same name comes again: that may be another type, in another module.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Block, File, Item, ItemImpl, ItemMod, Stmt};

use crate::errors::Errors;
use crate::text::print;

/// The files and types of the blocks of this crate so far.
static SEEN: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// Whether a block above this one is for the same type, which `errors` then says.
pub(crate) fn is_second(block: &ItemImpl, errors: &mut Errors) -> bool {
    let Some(file) = file_of(block) else {
        return false;
    };
    let ty = print(&block.self_ty);
    let this = (file, ty);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let again = seen.contains(&this);
    if !again {
        seen.push(this);
        return false;
    }
    let (file, ty) = this;
    let source = fs::read_to_string(file).ok().and_then(|text| syn::parse_file(&text).ok());
    let second = source.is_some_and(|source| is_second_in(&source, &ty, block));
    if second {
        errors.at(
            &block.self_ty,
            &format!("`{ty}` has another block with `#[distributed_worker]`"),
            "write all `#[remote]`, `#[schedule]` and `#[on_server]` functions into one block; \
             ordinary methods may stay in a block without the attribute",
        );
    }
    second
}

/// The file that the block is in, where the compiler tells.
fn file_of(block: &ItemImpl) -> Option<PathBuf> {
    // Not in a unit test.
    if !proc_macro::is_available() {
        return None;
    }
    block.impl_token.span.unwrap().local_file()
}

/// Whether `block` is in the file beside another one for `ty`, and not the first.
fn is_second_in(file: &File, ty: &str, block: &ItemImpl) -> bool {
    let (cfgs, text) = (&cfgs(&block.attrs), text(block));
    let mut places = Places { ty, cfgs, text, found: false };
    places.visit_file_mut(&mut file.clone());
    places.found
}

struct Places<'a> {
    ty: &'a str,
    cfgs: &'a [String],
    text: String,
    found: bool,
}

impl Places<'_> {
    fn items<'a>(&mut self, items: impl Iterator<Item = &'a Item>) {
        let blocks = items.filter_map(|item| match item {
            Item::Impl(block) => Some(block).filter(|block| self.is_such(block)),
            _ => None,
        });
        let found = blocks.skip(1).any(|block| text(block) == self.text);
        self.found |= found;
    }

    fn is_such(&self, block: &ItemImpl) -> bool {
        let cfgs = cfgs(&block.attrs);
        let marked = block.attrs.iter().any(|attribute| {
            let last = attribute.path().segments.last();
            last.is_some_and(|last| last.ident == "distributed_worker")
        });
        // Two blocks that never exist at the same time may be for one type.
        marked
            && print(&block.self_ty) == self.ty
            && (cfgs.is_empty() || self.cfgs.is_empty() || cfgs == self.cfgs)
    }
}

impl VisitMut for Places<'_> {
    fn visit_file_mut(&mut self, file: &mut File) {
        self.items(file.items.iter());
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut ItemMod) {
        if let Some((_, items)) = &module.content {
            self.items(items.iter());
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        self.items(block.stmts.iter().filter_map(|statement| match statement {
            Stmt::Item(item) => Some(item),
            _ => None,
        }));
        visit_mut::visit_block_mut(self, block);
    }
}

/// What is in the block, however it is spaced.
fn text(block: &ItemImpl) -> String {
    let items = block.items.iter().map(|item| item.to_token_stream().to_string());
    items.flat_map(|item| item.chars().filter(|c| !c.is_whitespace()).collect::<Vec<_>>()).collect()
}

fn cfgs(attributes: &[Attribute]) -> Vec<String> {
    let cfgs = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    cfgs.map(|attribute| attribute.to_token_stream().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> bool {
        let block = syn::parse_str("impl W { fn   second(&self) {} }").unwrap();
        is_second_in(&syn::parse_str(source).unwrap(), "W", &block)
    }

    #[test]
    fn the_second_block_of_a_type_is_found_beside_the_first() {
        let first = "#[dp_core::distributed_worker] impl W { fn first(&self) {} }";
        let second = "#[distributed_worker] impl W { fn second(&self) {} }";
        assert!(found(&format!("struct W; {first} impl W {{}} {second}")));
        assert!(found(&format!("mod inner {{ {first} {second} }}")));
        assert!(found(&format!("fn test() {{ {first} {second} }}")));
        assert!(!found(&format!("{first} mod inner {{ {second} }} fn test() {{ {second} }}")));
        assert!(!found(&format!("{second} {first} mod inner {{ {second} }}")));
        assert!(!found(&format!("impl W {{}} {second}")));
    }
}
