//! Holds the code in the project's README as documentation tests; the example is `quickstart`.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
