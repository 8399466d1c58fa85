//! `longhaul fetch`.

use std::time::Instant;

use longhaul::Error;

use crate::args::Fetch;
use crate::files::PendingFile;
use crate::follow::follow;
use crate::json;
use crate::output::Output;
use crate::words;

pub(crate) fn run(args: &Fetch, output: &Output) -> Result<(), Error> {
    let fetch = longhaul::fetch(&args.address)
        .integrity(args.target.integrity.integrity.into())
        .replace(args.target.replace)
        .links(args.target.links.into())
        .resume(!args.target.no_resume)
        .paranoid(args.target.paranoid)
        .verify_after(args.target.verify_after)
        .lanes(args.session.lanes)
        .max_retries(args.session.max_retries)
        .stall_timeout(args.session.stall_timeout)
        .redial(!args.session.no_redial)
        .busy_wait(args.dial.busy_wait)
        .buffer_memory(words::buffer_bytes(&args.common))
        .transport(args.common.transport.into())
        .data_path(args.common.data_path.into());
    if args.dry_run {
        let started = Instant::now();
        let survey = follow(fetch.dry_run(&args.destination), output)?;
        output.object(&json::dry_run(&survey, started.elapsed()));
        output.result(&words::dry_run(&survey, &args.destination));
        return Ok(());
    }
    let receipt = args.receipt.as_deref().map(PendingFile::create).transpose()?;
    let summary = follow(fetch.into(&args.destination), output)?;
    if let Some(receipt) = receipt {
        receipt.publish(&summary.receipt().to_json())?;
    }
    output.object(&json::success(&summary));
    output.result(&words::summary("fetched", &summary, &args.destination.display().to_string()));
    Ok(())
}
