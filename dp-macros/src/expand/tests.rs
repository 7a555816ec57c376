//! What blocks expand to, printed.

use quote::quote;

use super::distributed_worker;

/// A snapshot without the source, which stands here.
macro_rules! assert_snapshot {
    ($text:expr $(,)?) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($text) })
    };
}

fn expanded(arguments: proc_macro2::TokenStream, item: proc_macro2::TokenStream) -> String {
    let file = syn::parse2(distributed_worker(arguments, item)).expect("it is a list of items");
    // The same list of lints stands everywhere, and hides the rest.
    let text = prettyplease::unparse(&file);
    let mut lines = Vec::new();
    let mut in_lints = false;
    for line in text.lines() {
        in_lints |= line == "#[allow(";
        if !in_lints {
            lines.push(line);
        }
        in_lints &= line != ")]";
    }
    lines.join("\n")
}

#[test]
fn a_block_becomes_stubs_and_a_dispatch() {
    assert_snapshot!(expanded(
        quote!(),
        quote! {
            impl Greeter {
                /// Greets `name`.
                ///
                /// At length.
                #[remote]
                pub async fn greet(&mut self, ctx: &Context<Self>, name: &str) -> String {
                    self.greeted += 1;
                    format!("hello {name}")
                }

                #[remote]
                fn count(&self, list: &[u64], block: &[u8], owned: Vec<Self>, lent: &Self) {}

                #[schedule]
                pub async fn run(&self) -> anyhow::Result<()> {
                    self.greet(Self::NAME).await?;
                    Ok(())
                }

                fn not_remote(&self) {}
            }
        },
    ));
}

#[test]
fn generics_and_configuration_are_carried_over() {
    assert_snapshot!(expanded(
        quote!(crate = my::path),
        quote! {
            #[cfg(feature = "sorter")]
            impl<T: Ord, const N: usize> Sorter<T, N> where T: Clone {
                #[cfg(unix)]
                #[deprecated]
                #[remote]
                pub(crate) fn r#match<'a>(&'a self, call: &'a T, _: u8) -> io::Result<Self> {
                    todo!()
                }

                #[cfg(unix)]
                #[schedule]
                fn run(&self) {}

                #[cfg(not(unix))]
                #[remote]
                fn run(&self) {}
            }
        },
    ));
}

#[test]
fn functions_on_the_server_become_a_third_stub() {
    assert_snapshot!(expanded(
        quote!(server = UrlFeed),
        quote! {
            impl Crawler {
                #[remote(typed_error)]
                fn run(&mut self) -> Result<u64, Error> {
                    Ok(0)
                }

                #[on_server]
                async fn next_url(feed: &UrlFeed, caller: &WorkerInfo, last: u64) -> Option<String> {
                    feed.pop()
                }
            }
        },
    ));
}

#[test]
fn after_a_mistake_its_callers_still_find_what_they_call() {
    assert_snapshot!(expanded(
        quote!(),
        quote! {
            impl Worker {
                #[remote]
                pub fn mistaken<T>(&mut self, (first, second): (u8, T)) -> u8 {
                    first
                }

                #[schedule]
                pub async fn run(&mut self) -> Result<(), Error> {
                    self.field += 1;
                    Ok(())
                }
            }
        },
    ));
}

#[test]
fn what_is_no_worker_is_left_as_it_is() {
    assert_snapshot!(expanded(
        quote!(),
        quote! {
            impl Trait for Worker {
                #[remote]
                fn method(&self) {}
            }
        },
    ));
}

#[test]
fn nonsense_is_a_compile_error_and_never_a_panic() {
    let worker = "impl W { #[remote] fn f(&self) {} }";
    let cases = [
        (",", worker),
        ("crate", worker),
        ("crate =", worker),
        ("crate = 1", worker),
        ("server = ", worker),
        ("server = u8 crate = x", worker),
        ("3", worker),
        ("foo(bar), baz", worker),
        ("", ""),
        ("", "impl"),
        ("", "struct W;"),
        ("", "impl (u8, u8) { #[remote] fn f(&self) {} }"),
        ("", "impl <W as Trait>::Type { #[remote] fn f(&self) {} }"),
        ("", "impl W { #[remote(3)] fn f(&self) {} }"),
        ("", "impl W { #[remote(typed_error = 1)] fn f(&self) -> Result<u8, u8> {} }"),
        ("", "impl W { #[remote(a(b), c)] fn f(&self) {} }"),
        ("", "impl W { #[schedule(typed_error)] fn f(&self) {} }"),
        ("", "impl W { #[schedule] fn f(x: u8) {} }"),
        ("", "impl W { #[schedule] fn f(self: Rc<Self>) {} }"),
        ("", "impl W { #[on_server] fn f() {} }"),
        ("", "impl W { #[on_server(x)] fn f(self) {} }"),
        ("", "impl W { #[remote] fn f(&self, [a, b]: [u8; 2], _: &&str, ..: u8) {} }"),
        ("", "impl W { #[remote] fn f(&self, x: ()) -> (!, &u8, impl Copy) {} }"),
        ("", "impl W { #[remote] type T = u8; #[remote] macro_call! {} }"),
        ("", "impl W { #[cfg_attr(x, remote, cfg(y))] fn f(&self) {} }"),
    ];
    for (arguments, item) in cases {
        let parse = |text: &str| text.parse().expect("the brackets match");
        let tokens = distributed_worker(parse(arguments), parse(item)).to_string();
        assert!(tokens.contains("compile_error"), "({arguments}) {item}");
    }
}
