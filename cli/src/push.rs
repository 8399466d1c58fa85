//! `longhaul push`.

use longhaul::Error;

use crate::args::Push;
use crate::follow::follow;
use crate::json;
use crate::output::Output;
use crate::words;

pub(crate) fn run(args: &Push, output: &Output) -> Result<(), Error> {
    let transfer = longhaul::push(&args.path)
        .links(args.source.links.into())
        .hard_links(args.source.hard_links.into())
        .special(args.source.special.into())
        .lanes(args.session.lanes)
        .max_retries(args.session.max_retries)
        .stall_timeout(args.session.stall_timeout)
        .redial(!args.session.no_redial)
        .busy_wait(args.dial.busy_wait)
        .buffer_memory(words::buffer_bytes(&args.common))
        .transport(args.common.transport.into())
        .data_path(args.common.data_path.into())
        .to(&args.address);
    let summary = follow(transfer, output)?;
    summary.require_confirmed()?;
    output.object(&json::success(&summary));
    output.result(&words::summary("pushed", &summary, &args.address));
    Ok(())
}
