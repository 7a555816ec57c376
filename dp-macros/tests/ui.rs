//! What the attribute accepts, and what it says of everything else.
//!
//! `TRYBUILD=overwrite cargo test -p dp-macros --test ui` writes the expected messages anew: read
//! them before you keep them.

#[test]
fn workers_of_every_kind_compile_and_mistakes_are_reported_where_they_are() {
    // One set: each builds the dependencies anew.
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
