//! The server's state: the URLs that are loaded, handed out to the workers.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};

use crate::{Plan, Target};

/// The URLs to load. They are handed out in their order, and from the first again after the last one,
/// so that all workers together send as many requests to each, give or take one.
#[derive(Debug)]
pub struct Feed {
    urls: Vec<String>,
    name: String,
    given: AtomicU64,
}

impl Feed {
    /// A feed of one URL.
    pub fn of(url: impl Into<String>) -> Self {
        let name = url.into();
        Self { urls: vec![name.clone()], name, given: AtomicU64::new(0) }
    }

    /// A feed of a text with one URL in each line; `name` says where it comes from. Empty lines, and
    /// those that start with `#`, do not count.
    ///
    /// # Errors
    /// When there is no URL in it.
    pub fn parse(text: &str, name: impl Into<String>) -> anyhow::Result<Self> {
        let lines = text.lines().map(str::trim);
        let urls = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (urls, name): (Vec<_>, _) = (urls.map(str::to_owned).collect(), name.into());
        ensure!(!urls.is_empty(), "{name}: there is no URL in it");
        Ok(Self { urls, name, given: AtomicU64::new(0) })
    }

    /// Whether a plan's requests can be sent to all of them: better said before the load.
    ///
    /// # Errors
    /// When a URL is none, or something in the plan cannot be sent.
    pub fn check(&self, plan: &Plan) -> anyhow::Result<()> {
        for url in &self.urls {
            Target::new(url, plan).with_context(|| match self.urls.len() {
                1 => "cannot load it".to_owned(),
                _ => format!("cannot load {}", self.name),
            })?;
        }
        Ok(())
    }

    /// The next so many URLs.
    pub fn next(&self, count: u64) -> Vec<String> {
        let first = self.given.fetch_add(count, Ordering::Relaxed);
        let urls = self.urls.len() as u64;
        (0..count)
            .map(|number| self.urls[(first.wrapping_add(number) % urls) as usize].clone())
            .collect()
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.urls.len() {
            1 => f.write_str(&self.urls[0]),
            urls => write!(f, "{urls} URLs of {}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_has_its_turn() {
        let feed = Feed::parse("# three\nhttp://a/\n\n  http://b/\nhttp://c/\n", "list").unwrap();
        assert_eq!(feed.next(2), ["http://a/", "http://b/"]);
        assert_eq!(feed.next(3), ["http://c/", "http://a/", "http://b/"]);
        assert_eq!(feed.to_string(), "3 URLs of list");
        assert_eq!(Feed::of("http://a/").next(2), ["http://a/", "http://a/"]);
    }

    #[test]
    fn a_list_without_a_url_says_so() {
        let error = Feed::parse("# nothing\n", "list").unwrap_err();
        assert_eq!(error.to_string(), "list: there is no URL in it");
    }

    #[test]
    fn a_wrong_url_is_found_before_the_load() {
        let plan = Plan::example();
        let feed = Feed::parse("http://a/\nhttps://b/\n", "list").unwrap();
        let error = format!("{:#}", feed.check(&plan).unwrap_err());
        assert!(error.starts_with("cannot load list: \"https://b/\""), "{error}");
        assert!(Feed::of("http://a/").check(&plan).is_ok());
    }
}
