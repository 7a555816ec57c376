//! Who may ask for what.
//!
//! Where there is no token the page is on this machine alone, and what protects it is that a browser
//! tells whose page it is that asks: no other site's page may, under whatever name it reaches us. Where
//! there is one, everything but the page's own files needs it, in a header that no other site's page
//! can send. There are no cookies, so that no request has rights that its page did not give it.

use std::net::IpAddr;

use dp_core::net::Token;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

/// Checks requests.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    token: Option<Token>,
    scheme: &'static str,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

impl Guard {
    pub(super) fn new(token: Option<Token>, scheme: &'static str) -> Self {
        Self { token, scheme }
    }

    /// Whether the request comes from where it may. `open`: it is for one of the page's own files,
    /// which tell nothing and do nothing.
    pub(super) fn check(&self, request: &Parts, open: bool) -> Result<(), Refusal> {
        let host = self.host(request)?;
        self.same_site(request, host, open)?;
        if request.method == Method::POST && !is_json(request) {
            // What other sites' pages cannot send without asking first.
            let why = "actions are application/json";
            return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, why });
        }
        if open || self.knows_token(request) {
            return Ok(());
        }
        let why = "the server's token is needed: `Authorization: Bearer TOKEN`";
        Err(Refusal { status: StatusCode::UNAUTHORIZED, why })
    }

    /// The host that was asked for. Without a token it must be one that stands for this machine
    /// whoever answers for names: a stranger's name may be made to lead here.
    fn host<'r>(&self, request: &'r Parts) -> Result<&'r str, Refusal> {
        let refusal = Refusal {
            status: StatusCode::MISDIRECTED_REQUEST,
            why: "ask for this page by the address that the server said, or as localhost",
        };
        let mut hosts = request.headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(refusal) };
        let Ok(host) = host.to_str() else { return Err(refusal) };
        if self.token.is_some() || is_this_machine(host) { Ok(host) } else { Err(refusal) }
    }

    fn same_site(&self, request: &Parts, host: &str, open: bool) -> Result<(), Refusal> {
        let header = |name: &HeaderName| {
            request.headers.get(name).map(|value| value.to_str().unwrap_or_default())
        };
        let refusal = Refusal { status: StatusCode::FORBIDDEN, why: "not for other sites' pages" };
        if let Some(origin) = header(&ORIGIN) {
            let own = origin.split_once("://") == Some((self.scheme, host));
            if !own {
                return Err(refusal);
            }
        }
        match header(&HeaderName::from_static("sec-fetch-site")) {
            None | Some("same-origin" | "none") => Ok(()),
            // Somebody followed a link to here.
            Some(_)
                if open
                    && header(&HeaderName::from_static("sec-fetch-mode")) == Some("navigate") =>
            {
                Ok(())
            }
            Some(_) => Err(refusal),
        }
    }

    fn knows_token(&self, request: &Parts) -> bool {
        let Some(token) = &self.token else { return true };
        let given = request.headers.get(AUTHORIZATION).and_then(|given| given.to_str().ok());
        given
            .and_then(|given| given.strip_prefix("Bearer "))
            .is_some_and(|given| token.matches(given))
    }
}

fn is_json(request: &Parts) -> bool {
    let kind = request.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim() == "application/json")
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/api/run");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(guard: &Guard, parts: &Parts, open: bool) -> u16 {
        guard.check(parts, open).err().map_or(200, |refusal| refusal.status.as_u16())
    }

    const OURS: (&str, &str) = ("host", "127.0.0.1:8148");
    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn a_name_that_is_made_to_lead_here_is_refused_without_a_token() {
        let guard = Guard::new(None, "http");
        for (host, expected) in [
            ("127.0.0.1:8148", 200),
            ("[::1]:8148", 200),
            ("LocalHost:8148", 200),
            ("localhost", 200),
            ("evil.example:8148", 421),
            ("localhost.evil.example", 421),
            ("192.0.2.1:8148", 421),
            ("", 421),
        ] {
            assert_eq!(
                status(&guard, &request("GET", &[("host", host)]), false),
                expected,
                "{host}"
            );
        }
        assert_eq!(status(&guard, &request("GET", &[]), true), 421);
        let twice = request("GET", &[OURS, ("host", "evil.example")]);
        assert_eq!(status(&guard, &twice, true), 421);
    }

    #[test]
    fn other_sites_pages_can_do_nothing() {
        let guard = Guard::new(None, "http");
        for (more, expected) in [
            (vec![], 200),
            (vec![("origin", "http://127.0.0.1:8148"), ("sec-fetch-site", "same-origin")], 200),
            (vec![("sec-fetch-site", "none")], 200),
            (vec![("origin", "http://evil.example")], 403),
            (vec![("origin", "https://127.0.0.1:8148")], 403),
            (vec![("origin", "http://127.0.0.1:9999")], 403),
            (vec![("origin", "null")], 403),
            (vec![("sec-fetch-site", "cross-site")], 403),
            (vec![("sec-fetch-site", "same-site")], 403),
            (vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 403),
        ] {
            let headers = [vec![OURS, JSON], more].concat();
            assert_eq!(status(&guard, &request("POST", &headers), false), expected, "{headers:?}");
        }
        let form = request("POST", &[OURS, ("content-type", "text/plain")]);
        assert_eq!(status(&guard, &form, false), 415);
    }

    #[test]
    fn a_link_to_the_page_can_be_followed() {
        let guard = Guard::new(None, "http");
        let link = [OURS, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(status(&guard, &request("GET", &link), true), 200);
        assert_eq!(status(&guard, &request("GET", &link), false), 403);
    }

    #[test]
    fn where_there_is_a_token_everything_but_the_files_needs_it() {
        let guard = Guard::new(Some(Token::new("open sesame, please").unwrap()), "http");
        let host = ("host", "lab.example:8148");
        let asked = |given: &str| {
            let given = format!("{given}open sesame, please");
            status(&guard, &request("GET", &[host, ("authorization", &given)]), false)
        };
        assert_eq!(
            (asked("Bearer "), asked("Bearer not "), asked("Basic "), asked("")),
            (200, 401, 401, 401)
        );
        assert_eq!(status(&guard, &request("GET", &[host]), false), 401);
        assert_eq!(status(&guard, &request("GET", &[host]), true), 200);
    }
}
