//! A `#[remote]` method may be called as any method of dp-core's `Group` and `Stub` is, except for
//! the constructors that the macro generates.

use std::fs;
use std::path::Path;

/// The public methods of the inherent impls of `Group` and `Stub`.
fn offered() -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dp-core/src");
    let mut names = Vec::new();
    let mut folders = vec![source];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("dp-core is beside this crate") {
            let path = entry.expect("the folder is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the file is readable");
                let file = syn::parse_file(&text).expect("the file is Rust");
                names.extend(file.items.iter().flat_map(methods));
            }
        }
    }
    names
}

fn methods(item: &syn::Item) -> Vec<String> {
    let syn::Item::Impl(block) = item else {
        return Vec::new();
    };
    let syn::Type::Path(path) = &*block.self_ty else {
        return Vec::new();
    };
    let of_interest =
        path.path.segments.last().is_some_and(|last| last.ident == "Group" || last.ident == "Stub");
    if !of_interest || block.trait_.is_some() {
        return Vec::new();
    }
    let methods = block.items.iter().filter_map(|item| match item {
        syn::ImplItem::Fn(item) if matches!(item.vis, syn::Visibility::Public(_)) => {
            Some(item.sig.ident.to_string())
        }
        _ => None,
    });
    methods.collect()
}

#[test]
fn every_name_of_group_and_stub_is_tried_as_the_name_of_a_method() {
    let tried = include_str!("ui/pass/group_names.rs");
    let offered = offered();
    assert!(offered.iter().any(|name| name == "workers"), "{offered:?}");
    let missing: Vec<_> =
        offered.iter().filter(|name| !tried.contains(&format!("pub fn {name}(&"))).collect();
    assert!(missing.is_empty(), "missing in tests/ui/pass/group_names.rs: {missing:?}");
}

#[test]
fn a_schedule_may_call_every_method_of_a_group() {
    let model = include_str!("../src/model/mod.rs");
    let missing: Vec<_> = offered()
        .into_iter()
        .filter(|name| !["info", "stub"].contains(&name.as_str()))
        .filter(|name| !model.contains(&format!("\"{name}\"")))
        .collect();
    assert!(missing.is_empty(), "missing in GROUP: {missing:?}");
}
