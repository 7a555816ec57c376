//! The client's side: joins the server of a job.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_nats::{Client, RequestErrorKind, Subject, Subscriber};
use bytes::BytesMut;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::link::Link;
use crate::settings::{again, chain, chunk};
use crate::stream::NatsStream;
use crate::wire::{Answer, HEAD, Request, text};
use crate::{NatsError, Settings};

/// How long the job's server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long what was written last may take to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// A connection to a NATS server.
#[derive(Debug)]
pub struct Connection(pub(crate) Client);

/// Joins the server of the job. Belongs on [`engine::io`]. The stream is for a host; the connection is to
/// be [closed](Connection::close) when that is done, or what was written last may not arrive.
///
/// # Errors
/// [`NatsError`] says what stands in the way; all but [`Refused`](NatsError::Refused),
/// [`File`](NatsError::File) and [`Protocol`](NatsError::Protocol) may pass.
///
/// # Cancel safety
/// Dropping it leaves nothing behind.
///
/// [`engine::io`]: dp_core::engine::io
pub async fn connect(settings: &Settings) -> Result<(NatsStream, Connection), NatsError> {
    let (client, connected) = settings.connect("client").await?;
    let (job, engine) = (settings.job_name().to_owned(), settings.engine());
    let limit = Link::CLIENT_LIMIT;
    let join = Request::Join { address: client.server_info().client_ip, limit };
    let asked = timeout(ANSWER, client.request(settings.subject("join"), join.message())).await;
    let answer = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
            let reason = "nobody has it there".into();
            return Err(NatsError::NoServer { job, engine, reason });
        }
        Ok(Err(error)) => {
            return Err(NatsError::NoServer { job, engine, reason: chain(&error).into() });
        }
        Err(_) => {
            let reason = format!("no answer within {ANSWER:?}").into();
            return Err(NatsError::NoServer { job, engine, reason });
        }
    };
    let Some(answer) = Answer::parse(&answer.payload) else {
        return Err(NatsError::Protocol { job, engine });
    };
    let unreachable = |error: &dyn std::error::Error| NatsError::Unreachable {
        engine: engine.clone(),
        reason: chain(error).into(),
    };
    // Before anything is sent, so that nothing is missed of what comes for that.
    let link = text(&answer.link);
    let own = settings.subject(&format!("to.{link}"));
    let own = client.subscribe(own).await.map_err(|error| unreachable(&error))?;
    let all = settings.subject(&format!("all.{}", text(&answer.server)));
    let all = client.subscribe(all).await.map_err(|error| unreachable(&error))?;
    let to = Subject::from(settings.subject(&format!("from.{link}")));
    let link = Arc::new(Link::client(answer.number, answer.limit, chunk(&client) - HEAD));
    // Only now the server counts it among those that shake hands.
    let here = link.credit_head();
    let mut message = BytesMut::with_capacity(HEAD);
    here.put(&mut message);
    client.publish(to.clone(), message.freeze()).await.map_err(|error| unreachable(&error))?;
    let receiving = Receiving(tokio::spawn(receive(link.clone(), own, all, connected)));
    let stream = NatsStream::new(link, to, &client, Arc::new(AtomicU64::new(0)), receiving);
    Ok((stream, Connection(client)))
}

/// Hands what comes to the link, for as long as that is there.
async fn receive(
    link: Arc<Link>,
    mut own: Subscriber,
    mut all: Subscriber,
    mut connected: watch::Receiver<u32>,
) {
    // Also after a panic: nothing would come any more.
    let _end = Ends(link.clone());
    loop {
        // Which of the two is first makes no difference: the numbers say the order.
        tokio::select! {
            message = own.next() => match message {
                Some(message) => link.deliver(message.payload),
                None => break,
            },
            message = all.next() => match message {
                Some(message) => link.deliver_around(message.payload),
                None => break,
            },
            // It was away for a while.
            Ok(()) = connected.changed() => {
                if again(&mut connected) {
                    link.check();
                }
            }
        }
    }
}

/// Ends the link when nothing is handed to it any more.
struct Ends(Arc<Link>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fail("the connection to the NATS server was closed");
    }
}

struct Receiving(JoinHandle<()>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Waits until what was written has left, for two seconds at most.
    pub async fn close(self) {
        let _ = timeout(FLUSH, self.0.flush()).await;
    }
}
