//! What becomes of a request.

use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, Read},
    pin::Pin,
    sync::Arc,
};

use bytes::{Buf, Bytes};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{ALLOW, CONTENT_TYPE, TRAILER},
};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tokio_util::task::TaskTracker;

use super::{
    At, Row, TossVerb, Verb,
    body::{
        ERROR_TRAILER, Ends, Frames, PIECES_MAX, Pieces, REPLY_TRAILER, Telling, Told, error_line,
    },
    events, live, metrics, openapi, rows,
    server::{BODY_MAX, BODY_TIME_MAX},
    wire::{Reply, line},
};
use crate::{
    daemon::Node,
    desk::{ExportForm, Failure, FailureKind, reply::Tossed},
};

/// What every request may use.
pub(super) struct Service {
    pub(super) node: Arc<Node>,
    pub(super) handle: Handle,
    /// Verbs that run.
    pub(super) running: TaskTracker,
    /// Whether only `/metrics` is here.
    pub(super) metrics_only: bool,
}

type Answer = Response<Pieces>;

/// Answers.
pub(super) async fn answer(
    service: Arc<Service>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let verb = path.strip_prefix("/v1/").and_then(|name| rows().find(|r| r.name == name));
    let known = verb.is_some() || openapi::OTHERS.iter().any(|other| other.0 == path);
    let allowed = if service.metrics_only { path == "/metrics" } else { known };
    let method = match (allowed, verb) {
        (false, _) => {
            let failure = Failure::new(FailureKind::Unknown, format!("there is no {path}"))
                .next("GET /v1/openapi.json describes what there is");
            return Ok(failed(&failure));
        }
        (true, Some(_)) => "post",
        (true, None) => openapi::OTHERS.iter().find(|o| o.0 == path).map_or("get", |o| o.1),
    };
    if !request.method().as_str().eq_ignore_ascii_case(method) {
        let failure = Failure::new(FailureKind::Usage, format!("{path} is for {method} only"));
        let mut refused = failed(&failure);
        *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allow = if method == "post" { Method::POST } else { Method::GET };
        if let Ok(allow) = allow.as_str().parse() {
            refused.headers_mut().insert(ALLOW, allow);
        }
        return Ok(refused);
    }
    if let Some(row) = verb {
        return Ok(run(service, row, request).await);
    }
    Ok(match &*path {
        "/v1/events" => listen(&service, &request),
        "/v1/openapi.json" => whole("application/json", openapi::document().to_string()),
        "/v1/pack" => pack(service, &request).await,
        "/v1/bundle/export" => export(service, &request).await,
        "/v1/unpack" => unpack(service, request).await,
        _ => figures(&service).await,
    })
}

/// Runs a verb of the table.
async fn run(service: Arc<Service>, row: &'static Row, request: Request<Incoming>) -> Answer {
    let progress = query(&request, "progress").is_some();
    let body = match timeout(BODY_TIME_MAX, collect(request.into_body())).await {
        Ok(Ok(body)) => body,
        Ok(Err(failure)) => return failed(&failure),
        Err(_) => {
            return failed(&Failure::new(FailureKind::Usage, "the request did not come in time"));
        }
    };
    perform(service, progress, Ends::Lines, move |at, frames| {
        (row.answer)(at, &body, &mut |line| frames.push(line))?;
        Ok(Vec::new())
    })
    .await
}

/// Runs something at the desk on a thread of its own, and answers with what it tells.
async fn perform(
    service: Arc<Service>,
    progress: bool,
    ends: Ends,
    work: impl FnOnce(&At<'_>, &mut Frames<'_>) -> Result<Vec<u8>, Failure> + Send + 'static,
) -> Answer {
    let (to, mut told) = mpsc::channel(PIECES_MAX);
    let running = service.running.clone();
    // It ends by itself; the server waits for it when it stops.
    running.spawn_blocking(move || {
        let watch = Telling::new(progress.then(|| to.clone()));
        let node = Some((&service.node, &service.handle));
        let at = At { desk: &service.node.desk, node, watch: &watch };
        let mut frames = Frames::new(&to);
        let worked = work(&at, &mut frames);
        let worked = frames.send().and(worked);
        // Whoever has gone hears nothing.
        let _ = match worked {
            Ok(reply) if reply.is_empty() => Ok(()),
            Ok(reply) => to.blocking_send(Told::Reply(reply)),
            Err(failure) => to.blocking_send(Told::Failed(failure)),
        };
    });
    let first = match told.recv().await {
        Some(Told::Bytes(first)) => first,
        Some(Told::Failed(failure)) => return failed(&failure),
        Some(Told::Reply(reply)) => {
            // A stream without a byte: its reply still stands behind it.
            let (to, rest) = mpsc::channel(1);
            let _ = to.try_send(Told::Reply(reply));
            return told_answer(Pieces::told(None, rest, ends), ends);
        }
        None => {
            return failed(&Failure::new(FailureKind::Fault, "a fault in postrider itself").next(
                "your mail is safe in the spool; postrider doctor looks whether everything is well",
            ));
        }
    };
    told_answer(Pieces::told(Some(first), told, ends), ends)
}

fn told_answer(pieces: Pieces, ends: Ends) -> Answer {
    let mut answer = Response::new(pieces);
    let headers = answer.headers_mut();
    let (kind, trailers) = match ends {
        Ends::Lines => ("application/x-ndjson", None),
        Ends::Stream => {
            ("application/octet-stream", Some(format!("{REPLY_TRAILER}, {ERROR_TRAILER}")))
        }
    };
    if let Ok(kind) = kind.parse() {
        headers.insert(CONTENT_TYPE, kind);
    }
    if let Some(trailers) = trailers.and_then(|trailers| trailers.parse().ok()) {
        headers.insert(TRAILER, trailers);
    }
    answer
}

async fn pack(service: Arc<Service>, request: &Request<Incoming>) -> Answer {
    let whom: Vec<String> = query(request, "whom")
        .map(|whom| whom.split(',').filter(|who| !who.is_empty()).map(str::to_owned).collect())
        .unwrap_or_default();
    perform(service, false, Ends::Stream, move |at, frames| {
        line(&at.desk.pack(&whom, frames, at.watch)?)
    })
    .await
}

async fn export(service: Arc<Service>, request: &Request<Incoming>) -> Answer {
    let id = query(request, "id").unwrap_or_default();
    let payload = query(request, "payload").is_some();
    let form = if payload { ExportForm::Payload } else { ExportForm::Bundle };
    perform(service, false, Ends::Stream, move |at, frames| {
        line(&at.desk.bundle_export(&id, form, frames, at.watch)?)
    })
    .await
}

async fn unpack(service: Arc<Service>, request: Request<Incoming>) -> Answer {
    let progress = query(&request, "progress").is_some();
    let handle = service.handle.clone();
    let mut body = BodyReader { body: request.into_body(), handle, rest: Bytes::new() };
    perform(service, progress, Ends::Lines, move |at, frames| {
        let unpacked: Tossed = live::after_taking(at, at.desk.unpack(&mut body, at.watch)?)?;
        unpacked.tell(TossVerb::NAME, &mut |line| frames.push(line))?;
        Ok(Vec::new())
    })
    .await
}

fn listen(service: &Service, request: &Request<Incoming>) -> Answer {
    let after = request.headers().get("last-event-id");
    let after = after.and_then(|id| id.to_str().ok()?.trim().parse().ok());
    let (to, rest) = mpsc::channel(PIECES_MAX);
    let maker = events::tell(Arc::clone(&service.node), after, to);
    let mut answer = Response::new(Pieces::made_by(rest, maker));
    if let Ok(kind) = "text/event-stream".parse() {
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    answer
}

async fn figures(service: &Service) -> Answer {
    match service.node.ask(|desk| desk.figures(&crate::desk::Silent)).await {
        Ok(figures) => {
            whole(metrics::CONTENT_TYPE, metrics::text(&figures, &service.node.board.links()))
        }
        Err(failure) => failed(&failure),
    }
}

/// A value of the query, decoded.
fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    find_in_query(request.uri().query()?, name)
}

fn find_in_query(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn whole(kind: &str, text: String) -> Answer {
    let mut answer = Response::new(Pieces::whole(text));
    if let Ok(kind) = kind.parse() {
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    answer
}

/// A failure, with the status that fits it best.
pub(super) fn failed(failure: &Failure) -> Answer {
    let mut answer = Response::new(Pieces::whole(error_line(failure)));
    *answer.status_mut() = status(failure.kind);
    if let Ok(kind) = "application/json".parse() {
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    answer
}

fn status(kind: FailureKind) -> StatusCode {
    match kind {
        FailureKind::Usage => StatusCode::BAD_REQUEST,
        FailureKind::NotAuthorised | FailureKind::Refused => StatusCode::FORBIDDEN,
        FailureKind::Unknown => StatusCode::NOT_FOUND,
        FailureKind::Failed | FailureKind::Partial => StatusCode::CONFLICT,
        FailureKind::NeedsDaemon | FailureKind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        FailureKind::Full => StatusCode::INSUFFICIENT_STORAGE,
        FailureKind::Damaged => StatusCode::UNPROCESSABLE_ENTITY,
        FailureKind::Ended => StatusCode::GONE,
        FailureKind::Fault => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A whole request body, up to the limit.
async fn collect(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    while let Some(piece) = next(&mut body).await.map_err(|error| {
        Failure::new(FailureKind::Usage, "the request ended too early").because(error)
    })? {
        if all.len() + piece.len() > BODY_MAX {
            let what = format!("a request has at most {BODY_MAX} bytes");
            return Err(Failure::new(FailureKind::Usage, what)
                .next("nothing was changed; files are given by their paths"));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

/// The next data of a body.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(error),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A request body for a thread that may wait.
struct BodyReader {
    body: Incoming,
    handle: Handle,
    rest: Bytes,
}

impl Read for BodyReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.handle.block_on(next(&mut self.body)).map_err(io::Error::other)? {
                Some(data) => self.rest = data,
                None => return Ok(0),
            }
        }
        let n = self.rest.len().min(to.len());
        self.rest.copy_to_slice(&mut to[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_nonsense_in_it_does_no_harm() {
        for (query, value) in [
            ("whom=Bob", Some("Bob")),
            ("x=1&whom=Zo%C3%AB,Al%20ice", Some("Zoë,Al ice")),
            ("whom", Some("")),
            ("whom=%", Some("%")),
            ("whom=%4", Some("%4")),
            ("whom=%zz", Some("%zz")),
            ("whom=%ff", None),
            ("nobody=1", None),
            ("", None),
        ] {
            assert_eq!(find_in_query(query, "whom").as_deref(), value, "{query}");
        }
    }
}
