//! What the attribute accepts, and what it says of everything else.
//!
//! The suite builds all dependencies once more, which takes minutes, and it compares rustc's words, which
//! differ between versions. So it runs in the gate, which sets `DP_TESTS_REQUIRE`, and on request:
//!
//! `DP_TESTS_REQUIRE=1 cargo test -p dp-macros --test ui` runs it.
//! `TRYBUILD=overwrite cargo test -p dp-macros --test ui` writes the expected messages anew: read
//! them before you keep them.

use std::env::var_os;
use std::io::Write;

#[test]
fn workers_of_every_kind_compile_and_mistakes_are_reported_where_they_are() {
    if var_os("DP_TESTS_REQUIRE").is_none() && var_os("TRYBUILD").is_none() {
        // The test harness shows what a passing test prints to nobody, but for what is written this way.
        let line =
            "skipped: the compile-time messages, minutes to build; DP_TESTS_REQUIRE=1 runs them";
        let _ = writeln!(std::io::stderr(), "{line}");
        return;
    }
    // One set: each builds the dependencies anew.
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
