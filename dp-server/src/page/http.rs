//! The HTTP server: connections, and what is where.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dp_core::net::{ServerGate, ServerTls};
use dp_core::{DistributedWorker, engine};
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::body::{self, Reply};
use super::guard::Guard;
use super::hub::Hub;
use super::patient::Patient;
use super::places::{Place, Places};
use super::{actions, assets, prometheus, results};
use crate::json_text::json_text;
use crate::run::Runner;

/// The time for TLS, for the head of a request, and for its body; and how long a peer may read nothing of
/// what is written to it.
const PATIENCE: Duration = Duration::from_secs(10);
/// A wrong token takes that long, so that guessing does.
const WRONG_TOKEN: Duration = Duration::from_millis(300);

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// What is served at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// The page, and the metrics.
    Page,
    Metrics,
}

/// What one address serves.
pub(super) struct Site<W: DistributedWorker> {
    runner: Runner<W>,
    hub: Hub,
    guard: Guard,
    served: Served,
    tls: Option<ServerTls>,
}

impl<W: DistributedWorker> Site<W> {
    pub(super) fn new(
        runner: Runner<W>,
        hub: Hub,
        guard: Guard,
        served: Served,
        tls: Option<ServerTls>,
    ) -> Self {
        Self { runner, hub, guard, served, tls }
    }

    /// Serves whoever connects. Dropping it drops the connections.
    pub(super) async fn serve(self, listener: TcpListener) {
        let (site, listener) = (Arc::new(self), Arc::new(listener));
        let serve = || Self::accept(site.clone(), listener.clone());
        engine::keep_up("what serves the live page", serve).await;
    }

    async fn accept(site: Arc<Self>, listener: Arc<TcpListener>) {
        let places = Places::new();
        let mut connections = JoinSet::new();
        loop {
            while let Some(ended) = connections.try_join_next() {
                if let Err(error) = ended {
                    tracing::error!(
                        "a connection to the page failed, which is a bug in dp: {error}"
                    );
                }
            }
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (site, place) = (site.clone(), places.stranger());
                    connections.spawn(async move {
                        tokio::select! {
                            () = site.connection(stream, &place) => {}
                            () = place.leave() => {}
                        }
                    });
                }
                // Out of file descriptors, as a rule: some will be free again.
                Err(error) => {
                    tracing::debug!("the page cannot accept a connection: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, place: &Arc<Place>) {
        let _ = stream.set_nodelay(true);
        let stream = Patient::new(stream, PATIENCE);
        let gate = ServerGate { tls: self.tls.clone(), token: None };
        let Ok(Ok((stream, _))) = timeout(PATIENCE, gate.admit(stream)).await else { return };
        let service = service_fn(|request| {
            let (site, place) = (self.clone(), place.clone());
            async move { Ok::<_, Infallible>(site.respond(request, &place).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!("a connection to the page ended: {error}");
        }
    }

    async fn respond(&self, request: Request<Incoming>, place: &Place) -> Response<Reply> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let asset = assets::find(path).filter(|_| self.served == Served::Page);
        let open = asset.is_some() && head.method == Method::GET;
        let mut response = match self.guard.check(&head, open) {
            Err(refusal) => {
                if refusal.status == StatusCode::UNAUTHORIZED {
                    sleep(WRONG_TOKEN).await;
                }
                error(refusal.status, refusal.why)
            }
            Ok(()) if !open && !place.is_known() => {
                error(StatusCode::SERVICE_UNAVAILABLE, "too many connections to this page already")
            }
            Ok(()) => match asset.filter(|_| open) {
                Some(asset) => reply(asset.kind, asset.text),
                None => self.route(&head.method, path, head.uri.query(), body).await,
            },
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn route(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        body: Incoming,
    ) -> Response<Reply> {
        let runner = &self.runner;
        match (method.as_str(), path, self.served) {
            ("GET", "/metrics", _) => prometheus::respond(runner, &self.hub).await,
            ("GET", "/api/events", Served::Page) => match self.hub.watch() {
                Some(events) => {
                    let mut response = reply("text/event-stream", String::new());
                    *response.body_mut() = Reply::Events(events);
                    response
                }
                None => error(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many browsers watch this page already",
                ),
            },
            ("GET", "/api/results", Served::Page) => {
                let live = query == Some("live");
                json_reply(&results::results(runner, live).await)
            }
            ("GET", "/api/report", Served::Page) => match results::report(runner, query) {
                Ok((kind, bytes)) => reply(kind, bytes),
                Err(why) => error(StatusCode::NOT_FOUND, &why),
            },
            ("POST", _, Served::Page) => {
                let body = match timeout(PATIENCE, body::read(body)).await {
                    Ok(Some(body)) => body,
                    Ok(None) => {
                        return error(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long");
                    }
                    Err(_) => {
                        return error(
                            StatusCode::REQUEST_TIMEOUT,
                            "the request did not end in time",
                        );
                    }
                };
                match actions::act(runner, path, &body).await {
                    Some(Ok(value)) => json_reply(&value),
                    Some(Err(why)) => error(StatusCode::CONFLICT, &why),
                    None => error(StatusCode::NOT_FOUND, "there is nothing here"),
                }
            }
            _ => error(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }
}

pub(super) fn reply(kind: &'static str, body: impl Into<Reply>) -> Response<Reply> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json_reply(value: &Value) -> Response<Reply> {
    reply("application/json", json_text(value))
}

fn error(status: StatusCode, why: &str) -> Response<Reply> {
    let mut response = json_reply(&json!({ "error": why }));
    *response.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
