//! What there is here to move bytes with.

use longhaul::{Error, Probe};
use serde_json::{Map, Value, json};

use crate::args::ProbeArgs;
use crate::output::Output;

pub(crate) fn run(args: &ProbeArgs, output: &Output) -> Result<(), Error> {
    let probe = longhaul::probe_threads(args.path.as_deref(), args.ring_threads)?;
    output.object(&object(&probe));
    output.answer(&text(&probe));
    Ok(())
}

fn object(probe: &Probe) -> Value {
    let ring = match &probe.ring {
        Ok(ring) => {
            let operations =
                ring.operations.iter().map(|(what, has)| ((*what).to_owned(), Value::from(*has)));
            let operations: Map<String, Value> = operations.collect();
            json!({
                "available": true,
                "cooperative": ring.cooperative,
                "operations": operations,
                "rings": ring.threads,
                "buffers_registered": ring.registered,
                "buffers": ring.buffers,
                "huge_page_bytes": ring.huge_bytes,
            })
        }
        Err(why) => json!({ "available": false, "why": why }),
    };
    let locked = probe.locked_memory.map(|(soft, hard)| json!({ "soft": soft, "hard": hard }));
    let place = probe.place.as_ref().map(|place| {
        json!({
            "path": place.path.display().to_string(),
            "file_system": place.file_system,
            "in_memory": place.in_memory,
            "direct": place.direct,
            "splice": place.splice,
            "data_path": place.data_path().0.name(),
            "why": place.data_path().1,
        })
    });
    json!({
        "result": "ok",
        "kernel": probe.kernel,
        "io_uring": ring,
        "locked_memory_bytes": locked,
        "splice": {
            "available": probe.splice.is_ok(),
            "chosen": false,
            "why": splice(probe),
        },
        "place": place,
        "transport": probe.transport.name(),
        "why": probe.why(),
    })
}

fn text(probe: &Probe) -> String {
    let mut rows = vec![("kernel", probe.kernel.clone().unwrap_or_else(|| "unknown".into()))];
    match &probe.ring {
        Ok(ring) => {
            let named = |wanted: bool| {
                let names =
                    ring.operations.iter().filter(move |(_, has)| *has == wanted).map(|(what, _)| *what);
                names.collect::<Vec<_>>().join(", ")
            };
            let missing = named(false);
            let missing = if missing.is_empty() { missing } else { format!("; without {missing}") };
            rows.push(("io_uring", format!("with {}{missing}", named(true))));
            rows.push(("rings", format!("{} can be had at once", ring.threads)));
            rows.push((
                "buffers",
                format!(
                    "{} of {} may be registered; {} bytes lie in huge pages",
                    ring.registered, ring.buffers, ring.huge_bytes
                ),
            ));
        }
        Err(why) => rows.push(("io_uring", format!("none: {why}"))),
    }
    if let Some((soft, hard)) = probe.locked_memory {
        rows.push(("locked memory", format!("{} (at most {})", limit(soft), limit(hard))));
    }
    rows.push(("splice", splice(probe)));
    if let Some(place) = &probe.place {
        let direct = match place.direct {
            Some(true) => "the page cache can be passed by",
            Some(false) => "the page cache can't be passed by",
            None => "whether the page cache can be passed by is not known",
        };
        let memory = if place.in_memory { ", in memory" } else { "" };
        rows.push(("file system", format!("{}{memory}: {direct}", place.file_system)));
        let splices = match place.splice {
            Some(true) => "its files can be spliced",
            Some(false) => "its files can't be spliced: bytes are copied",
            None => "whether its files can be spliced is not known",
        };
        rows.push(("splice there", splices.into()));
        let (path, why) = place.data_path();
        rows.push(("data path there", format!("{}: {why}", path.name())));
    }
    rows.push(("would be chosen", format!("{}: {}", probe.transport, probe.why())));
    let rows: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<16} {value}")).collect();
    rows.join("\n")
}

/// What splice would do, and why it is not chosen.
fn splice(probe: &Probe) -> String {
    match &probe.splice {
        Ok(()) => "by name, with --integrity none alone, as nobody sees the bytes; auto leaves it: into files on a disk it \
                   was measured slower than past the page cache, and out of them about as quick, for half the CPU"
            .into(),
        Err(why) => format!("not to be had: {why}"),
    }
}

fn limit(bytes: u64) -> String {
    if bytes == u64::MAX { "no limit".into() } else { format!("{bytes} bytes") }
}
