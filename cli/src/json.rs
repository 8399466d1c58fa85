//! The objects on stdout with `--json`.

use std::time::Duration;

use longhaul::{Comparison, Error, Event, Receipt, Session, Stats, Summary, Survey, Unlike};
use serde_json::{Value, json};

/// The last object of a transfer that succeeded.
pub(crate) fn success(summary: &Summary) -> Value {
    json!({
        "result": "ok",
        "items": summary.items,
        "bytes": summary.bytes,
        "bytes_sent": summary.bytes_sent,
        "bytes_resumed": summary.bytes_resumed,
        "seconds": summary.duration.as_secs_f64(),
        "bytes_per_second": summary.bytes_per_second(),
        "retries": summary.retries,
        "integrity": summary.integrity.name(),
        "transport": summary.transport.name(),
        "root": summary.root.to_string(),
        "confirmed": summary.confirmed,
        "durability": summary.caveat,
    })
}

/// The last object of anything that failed.
pub(crate) fn failure(error: &Error, code: u8) -> Value {
    json!({
        "result": "error",
        "error": {
            "code": code,
            "kind": error.kind().name(),
            "side": error.side().map(longhaul::Side::name),
            "phase": error.phase().map(longhaul::Phase::name),
            "item": error.item().map(ToString::to_string),
            "offset": error.offset(),
            "retryable": error.is_retryable(),
            "resumable": error.is_resumable(),
            "message": error.message(),
            "hint": error.hint(),
        },
    })
}

/// The last object of a dry run.
pub(crate) fn dry_run(survey: &Survey, duration: Duration) -> Value {
    json!({
        "result": "ok",
        "dry_run": true,
        "items": survey.items,
        "bytes": survey.bytes,
        "allocated": survey.allocated,
        "longest_name": (survey.longest_name > 0).then_some(survey.longest_name),
        "bytes_sent": 0,
        "seconds": duration.as_secs_f64(),
    })
}

/// The last object of `verify`, where all is well.
pub(crate) fn verified(receipt: &Receipt, compared: bool) -> Value {
    json!({
        "result": "ok",
        "items": receipt.items,
        "bytes": receipt.bytes,
        "integrity": receipt.root.integrity.name(),
        "root": receipt.root.to_string(),
        "same": compared.then_some(true),
    })
}

/// The last object of `verify`, where two states differ.
pub(crate) fn different(comparison: &Comparison, error: &Error, code: u8) -> Value {
    let mut object = failure(error, code);
    let differences: Vec<_> = comparison
        .differences
        .iter()
        .map(|difference| {
            let mut object =
                json!({ "item": difference.name.to_string(), "differs": difference.unlike.name() });
            if let Unlike::Content(at) = difference.unlike {
                object["offset"] = json!(at);
            }
            object
        })
        .collect();
    object["same"] = json!(false);
    object["root"] = json!(comparison.state.root.to_string());
    object["other_root"] = json!(comparison.other.root.to_string());
    object["differences"] = json!(differences);
    object["differences_total"] = json!(comparison.differences_total);
    object
}

/// Something that happened, in a session of a service if it is one of many.
pub(crate) fn event(event: &Event, session: Option<u64>) -> Value {
    let mut object = match event {
        Event::Busy { retry_after } => {
            json!({ "event": "busy", "retry_after_seconds": retry_after.as_secs_f64() })
        }
        Event::Established { peer } => json!({ "event": "established", "peer": peer.to_string() }),
        Event::Prepared { shape, items, bytes } => {
            let shape = format!("{shape:?}").to_lowercase();
            json!({ "event": "prepared", "shape": shape, "items": items, "bytes": bytes })
        }
        Event::Streaming => json!({ "event": "streaming" }),
        Event::Retrying { item, attempt } => json!({ "event": "retrying", "item": item, "attempt": attempt }),
        Event::Agreed { root } => json!({ "event": "agreed", "root": root.to_string() }),
        Event::Reconnecting => json!({ "event": "reconnecting" }),
        Event::Resumed => json!({ "event": "resumed" }),
        Event::Durable => json!({ "event": "durable" }),
        Event::Installed => json!({ "event": "installed" }),
        Event::Warning(message) => json!({ "event": "warning", "message": message }),
        other => json!({ "event": "other", "message": format!("{other:?}") }),
    };
    add_session(&mut object, session);
    object
}

/// How far it is.
pub(crate) fn progress(stats: &Stats, rate: f64, session: Option<u64>) -> Value {
    let mut object = json!({
        "event": "progress",
        "stage": stats.stage.name(),
        "items": stats.items,
        "items_total": stats.items_total,
        "bytes": stats.bytes,
        "bytes_total": stats.bytes_total,
        "bytes_sent": stats.bytes_sent,
        "bytes_per_second": rate,
        "retries": stats.retries,
        "work": stats.work,
    });
    add_session(&mut object, session);
    object
}

/// A listening socket stands.
pub(crate) fn listening(address: &str) -> Value {
    json!({ "event": "listening", "address": address })
}

/// A session begins.
pub(crate) fn admitted(session: &Session) -> Value {
    json!({ "event": "admitted", "session": session.id(), "peer_address": session.peer_addr().to_string() })
}

/// A peer was told to ask again.
pub(crate) fn turned_away(peer: &str, retry_after: Duration) -> Value {
    json!({ "event": "turned-away", "peer_address": peer, "retry_after_seconds": retry_after.as_secs_f64() })
}

/// A session is over.
pub(crate) fn ended(session: &Session, result: &Result<Summary, Error>) -> Value {
    let mut object = match result {
        Ok(summary) => success(summary),
        Err(error) => failure(error, error.exit_code()),
    };
    object["event"] = json!("ended");
    add_session(&mut object, Some(session.id()));
    object
}

fn add_session(object: &mut Value, session: Option<u64>) {
    if let Some(session) = session {
        object["session"] = json!(session);
    }
}
