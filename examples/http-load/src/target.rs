//! What is loaded: a URL taken apart, and the request that is sent to it.

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};

use crate::Plan;

/// Where a request goes, and what it is.
#[derive(Clone, Debug)]
pub struct Target {
    host: String,
    port: u16,
    request: Request<Full<Bytes>>,
}

impl Target {
    /// What a plan sends to a URL.
    ///
    /// # Errors
    /// When the URL, the method or a header is not one.
    pub fn new(url: &str, plan: &Plan) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(other) => bail!("{url:?}: only http is supported, not {other}"),
            None => bail!("{url:?} is not a URL: it needs to start with http://"),
        }
        let authority = uri.authority().context("a URL needs a host")?;
        // An IPv6 address stands in brackets in a URL, but not in an address to connect to.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        ensure!(!host.is_empty(), "{url:?}: a URL needs a host");
        let port = authority.port_u16().unwrap_or(80);

        let method = Method::from_bytes(plan.method.as_bytes())
            .with_context(|| format!("{:?} is not a method", plan.method))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host_header = match authority.port_u16() {
            Some(port) => format!("{}:{port}", authority.host()),
            None => authority.host().to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host_header)
            .body(Full::new(Bytes::from(plan.body.clone())))?;
        for header in &plan.headers {
            let (name, value) = header
                .split_once(':')
                .with_context(|| format!("{header:?} is not `Name: value`"))?;
            let name: HeaderName =
                name.trim().parse().with_context(|| format!("{header:?}: not a header's name"))?;
            let value: HeaderValue = value
                .trim()
                .parse()
                .with_context(|| format!("{header:?}: not a header's value"))?;
            // A host given by hand takes the place of the URL's; others may come more than once.
            if name == HOST {
                request.headers_mut().insert(name, value);
            } else {
                request.headers_mut().append(name, value);
            }
        }
        Ok(Self { host, port, request })
    }

    /// Host and port to connect to.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The request.
    pub fn request(&self) -> Request<Full<Bytes>> {
        self.request.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> anyhow::Result<Target> {
        Target::new(url, &Plan::example())
    }

    #[test]
    fn a_url_is_taken_apart() {
        let it = target("http://example.test:8080/a/b?c=d").unwrap();
        assert_eq!(it.address(), ("example.test", 8080));
        assert_eq!(it.request().uri(), "/a/b?c=d");
        assert_eq!(it.request().headers()[HOST], "example.test:8080");

        let short = target("http://example.test").unwrap();
        assert_eq!(short.address(), ("example.test", 80));
        assert_eq!(short.request().uri(), "/");
        assert_eq!(short.request().headers()[HOST], "example.test");

        assert_eq!(target("http://[::1]:81/").unwrap().address(), ("::1", 81));
    }

    #[test]
    fn what_is_no_http_url_says_so() {
        for (url, problem) in [
            ("https://example.test/", "only http"),
            ("example.test", "http://"),
            ("http://", "not a URL"),
            ("http://exa mple/", "not a URL"),
        ] {
            let error = format!("{:#}", target(url).unwrap_err());
            assert!(error.contains(problem), "{url}: {error}");
        }
    }

    #[test]
    fn headers_are_added_and_the_host_replaced() {
        let plan = Plan {
            headers: vec!["Host: other.test".into(), "X-Tag:  1 ".into(), "X-Tag: 2".into()],
            ..Plan::example()
        };
        let request = Target::new("http://127.0.0.1/", &plan).unwrap().request();
        assert_eq!(request.headers()[HOST], "other.test");
        let tags: Vec<_> = request.headers().get_all("x-tag").iter().collect();
        assert_eq!(tags, ["1", "2"]);
        let plan = Plan { headers: vec!["nonsense".into()], ..plan };
        assert!(Target::new("http://127.0.0.1/", &plan).is_err());
    }
}
