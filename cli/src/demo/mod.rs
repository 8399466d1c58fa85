//! `longhaul demo`: everything once, over loopback, with nothing left behind.

mod live;
mod state;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indicatif::BinaryBytes;
use longhaul::{ChunkLen, Error, ErrorKind, Integrity, Pool, Progress, Summary};

use crate::args::Demo;
use crate::follow::follow;
use crate::json;
use crate::output::Output;
use crate::signals::Interrupt;
use crate::words;

/// How much is moved unless told: of files, and of a map in memory.
const SIZE: u64 = 1 << 30;
const LIVE_SIZE: u64 = 256 << 20;

pub(crate) fn run(args: &Demo, output: &Output) -> Result<(), Error> {
    if args.live {
        let size = args.size.map_or(LIVE_SIZE, |size| size.as_u64());
        return live::run(args, size, output);
    }
    let scratch =
        tempfile::Builder::new().prefix("longhaul-demo-").tempdir_in(&args.dir).map_err(|error| {
            Error::new(
                ErrorKind::Destination,
                format!("no directory can be made in {}: {error}", args.dir.display()),
            )
            .with_hint("choose another place with --dir")
            .with_cause(error)
        })?;
    let done = demonstrate(args, output, scratch.path());
    // Also after ^C and failure; a failure to clean up is not to hide another.
    let cleaned = scratch.close().map_err(|error| {
        Error::new(ErrorKind::Other, format!("the demo's directory can't be removed: {error}"))
            .with_cause(error)
    });
    let summary = done?;
    cleaned?;
    output.object(&json::success(&summary));
    Ok(())
}

fn demonstrate(args: &Demo, output: &Output, scratch: &Path) -> Result<Summary, Error> {
    let (original, copy) = (scratch.join("state"), scratch.join("copy"));
    let integrity = Integrity::from(args.target.integrity);

    let size = args.size.map_or(SIZE, |size| size.as_u64());
    output.result(&format!("making a state of {} in {}", BinaryBytes(size), scratch.display()));
    let started = Instant::now();
    state::make(&original, size, &|| !output.interrupt().is_interrupted())?;
    output.result(&format!("  made in {:.2} s", started.elapsed().as_secs_f64()));

    // Both roles in one process take their buffers from one pool.
    let pool = Pool::new(words::buffer_bytes(&args.common), ChunkLen::DEFAULT, 2, args.session.lanes);
    let provider = longhaul::serve(&original)
        .listen("127.0.0.1:0")
        .once(true)
        .lanes(args.session.lanes)
        .max_retries(args.session.max_retries)
        .stall_timeout(args.session.stall_timeout)
        .redial(!args.session.no_redial)
        .transport(args.common.transport.into())
        .data_path(args.common.data_path.into())
        .pool(&pool)
        .start()?;
    let address = provider.local_addr().to_string();
    output.result(&format!("serving it at {address}, and fetching it over loopback"));
    let transfer = longhaul::fetch(&address)
        .source_path(&original)
        .integrity(integrity)
        .lanes(args.session.lanes)
        .max_retries(args.session.max_retries)
        .stall_timeout(args.session.stall_timeout)
        .redial(!args.session.no_redial)
        .transport(args.common.transport.into())
        .data_path(args.common.data_path.into())
        .pool(&pool)
        .into(&copy);
    let summary = follow(transfer, output)?;
    let given = provider.wait()?;
    output.result(&format!(
        "  {} items, {} in {:.2} s: {}/s, durable and published",
        summary.items,
        BinaryBytes(summary.bytes),
        summary.duration.as_secs_f64(),
        BinaryBytes(summary.bytes_per_second() as u64),
    ));
    if given.last.is_some_and(|given| given.root != summary.root) {
        return Err(Error::new(ErrorKind::Integrity, "the provider and the joiner have different roots"));
    }

    output.result("verifying both from the disk");
    let compared = longhaul::verify(&original)
        .integrity(if integrity == Integrity::None { Integrity::Crc32c } else { integrity })
        .progress(Arc::new(Stop(output.interrupt().clone())))
        .compare(&copy)?;
    compared.require_same()?;
    if integrity != Integrity::None && compared.state.root != summary.root {
        return Err(Error::new(
            ErrorKind::Integrity,
            "what is on the disk has another root than what was moved",
        ));
    }
    output.result(&format!("  the same: root {}", compared.state.root));
    Ok(summary)
}

/// A signal stops the reading.
struct Stop(Interrupt);

impl Progress for Stop {
    fn advance(&self, _done: u64) -> bool {
        !self.0.is_interrupted()
    }
}
