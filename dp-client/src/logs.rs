//! Hears what this program logs, for servers that ask for it.

use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use dp_core::engine::logs::{self, CALL, FORWARDED, Origin};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

/// A layer that forwards what this program logs to a server that asks for it
/// (`--forward-logs`), and does nothing for others. [`main`](crate::main) and
/// [`ClientArgs::run`](crate::ClientArgs::run) have it; a program with a subscriber of its own adds it:
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt as _;
/// use tracing_subscriber::util::SubscriberInitExt as _;
///
/// tracing_subscriber::registry()
///     .with(tracing_subscriber::fmt::layer())
///     .with(dp_client::log_layer())
///     .init();
/// ```
///
/// The server says from which level on; what other layers show has no part in it. A line has what the
/// spans say that it is in, and the fields of the event.
pub fn log_layer<S>() -> impl Layer<S> + Send + Sync + 'static
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    logs::attach();
    Forward(PhantomData::<fn(S)>).with_filter(Wanted)
}

/// What servers want, and the spans that say whose call it is.
#[derive(Debug, Clone, Copy)]
struct Wanted;

impl Wanted {
    fn wants(metadata: &Metadata<'_>) -> bool {
        let wanted = logs::wanted();
        match metadata.target() {
            CALL => wanted > LevelFilter::OFF,
            FORWARDED => false,
            _ => wanted >= *metadata.level(),
        }
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _cx: &Context<'_, S>) -> bool {
        Self::wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked again when what is wanted changes.
        if Self::wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The spans of calls are at the debug level.
        let wanted = logs::wanted();
        Some(if wanted == LevelFilter::OFF { wanted } else { wanted.max(LevelFilter::DEBUG) })
    }
}

struct Forward<S>(PhantomData<fn(S)>);

/// What a span says to each line in it.
enum Said {
    /// The id of the worker whose call it is, and which call.
    Worker(String, Option<Origin>),
    /// Its name and its fields.
    Text(String),
}

impl<S> Layer<S> for Forward<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let said = if span.metadata().target() == CALL {
            let mut worker = Worker(None);
            attributes.record(&mut worker);
            worker.0.map(|worker| Said::Worker(worker, Origin::of_new_span()))
        } else {
            let mut text = Text::default();
            attributes.record(&mut text);
            Some(Said::Text(text.0))
        };
        if let Some(said) = said {
            span.extensions_mut().replace(said);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        if let Some(Said::Text(text)) = span.extensions_mut().get_mut::<Said>() {
            let mut more = Text(std::mem::take(text));
            values.record(&mut more);
            *text = more.0;
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let (mut worker, mut within) = (None, String::new());
        for span in cx.event_scope(event).into_iter().flatten() {
            match span.extensions().get::<Said>() {
                // The innermost.
                Some(Said::Worker(_, Some(origin))) if origin.is_over() => return,
                Some(Said::Worker(id, _)) if worker.is_none() => worker = Some(id.clone()),
                Some(Said::Text(text)) => {
                    let fields =
                        if text.is_empty() { String::new() } else { format!("{{{text}}}") };
                    within.insert_str(0, &format!("{}{fields}: ", span.name()));
                }
                _ => {}
            }
        }
        logs::forward(worker.as_deref(), *event.metadata().level(), || {
            let mut text = Text(within);
            event.record(&mut text);
            text.0
        });
    }
}

/// Finds the worker's id among a span's fields.
struct Worker(Option<String>);

impl Visit for Worker {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "worker" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

/// Fields as text: the message as it is, others with their names.
#[derive(Debug, Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !self.0.is_empty() && !self.0.ends_with(' ') {
            self.0.push(' ');
        }
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{}={value:?}", name.trim_start_matches("r#")),
        };
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{}", crate::chain::message(error)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps what would be forwarded.
    #[derive(Default, Clone)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
            let mut text = Text::default();
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }

    #[test]
    fn a_line_has_its_message_and_its_fields() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("plain");
            tracing::warn!(tries = 3, url = %"http://lab", name = "Ada", "cannot {}", "load");
            let error = std::io::Error::other("disk full");
            tracing::error!(error = &error as &dyn std::error::Error, r#type = 7);
        });
        let lines = kept.0.lock().unwrap();
        assert_eq!(lines[0], "plain");
        assert_eq!(lines[1], "cannot load tries=3 url=http://lab name=\"Ada\"");
        assert_eq!(lines[2], "error=disk full type=7");
    }

    #[test]
    fn what_nobody_wants_is_not_looked_at() {
        let subscriber = tracing_subscriber::registry().with(log_layer());
        tracing::subscriber::with_default(subscriber, || {
            assert!(!tracing::enabled!(tracing::Level::ERROR));
        });
    }
}
