//! `longhaul serve` and `longhaul receive`: following a service to its end.

use std::collections::HashMap;
use std::sync::mpsc::RecvTimeoutError;

use longhaul::{Error, ErrorKind, Service, ServiceEvent, Session, Summary};

use crate::args::{Listen, Receive, Serve};
use crate::files::PendingFile;
use crate::follow::Follower;
use crate::json;
use crate::output::{Output, describe};
use crate::progress::{Bars, Reporter, TICK};
use crate::words;

pub(crate) fn serve(args: &Serve, output: &Output) -> Result<(), Error> {
    let addr_file = args.listening.addr_file.as_deref().map(PendingFile::create).transpose()?;
    let service = longhaul::serve(&args.path)
        .links(args.source.links.into())
        .hard_links(args.source.hard_links.into())
        .special(args.source.special.into())
        .listen(&args.listening.address)
        .max_sessions(args.listening.max_sessions)
        .runtime_threads(args.listening.ring_threads)
        .once(args.listening.once)
        .insecure(args.listening.insecure)
        .lanes(args.session.lanes)
        .max_retries(args.session.max_retries)
        .stall_timeout(args.session.stall_timeout)
        .redial(!args.session.no_redial)
        .buffer_memory(words::buffer_bytes(&args.common))
        .transport(args.common.transport.into())
        .data_path(args.common.data_path.into())
        .start()?;
    let place = args.path.display().to_string();
    output.note(&format!("serving {place} at {}", service.local_addr()));
    Hosted { service, output, listen: &args.listening, verb: "gave", place, receipt: None }.run(addr_file)
}

pub(crate) fn receive(args: &Receive, output: &Output) -> Result<(), Error> {
    let addr_file = args.listening.addr_file.as_deref().map(PendingFile::create).transpose()?;
    if let Some(receipt) = &args.receipt {
        drop(PendingFile::create(receipt)?);
    }
    let service = longhaul::receive(&args.destination)
        .integrity(args.target.integrity.integrity.into())
        .replace(args.target.replace)
        .links(args.target.links.into())
        .resume(!args.target.no_resume)
        .paranoid(args.target.paranoid)
        .verify_after(args.target.verify_after)
        .listen(&args.listening.address)
        .max_sessions(args.listening.max_sessions)
        .runtime_threads(args.listening.ring_threads)
        .once(args.listening.once)
        .insecure(args.listening.insecure)
        .lanes(args.session.lanes)
        .max_retries(args.session.max_retries)
        .stall_timeout(args.session.stall_timeout)
        .redial(!args.session.no_redial)
        .buffer_memory(words::buffer_bytes(&args.common))
        .transport(args.common.transport.into())
        .data_path(args.common.data_path.into())
        .start()?;
    let place = args.destination.display().to_string();
    output.note(&format!("receiving into {place} at {}", service.local_addr()));
    let receipt = args.receipt.as_deref();
    Hosted { service, output, listen: &args.listening, verb: "received", place, receipt }.run(addr_file)
}

/// A service, and how it is talked about.
struct Hosted<'a> {
    service: Service,
    output: &'a Output,
    listen: &'a Listen,
    verb: &'static str,
    place: String,
    receipt: Option<&'a std::path::Path>,
}

impl Hosted<'_> {
    fn run(self, addr_file: Option<PendingFile>) -> Result<(), Error> {
        let stopper = self.service.stopper();
        self.output.interrupt().on_first(move || stopper.stop());
        let address = self.service.local_addr().to_string();
        self.output.object(&json::listening(&address));
        if let Some(file) = addr_file {
            file.publish(&format!("{address}\n"))?;
        }
        let receipts = self.follow();
        let (once, output) = (self.listen.once, self.output);
        let served = self.service.wait()?;
        receipts?;
        match served.last {
            Some(summary) if once => {
                summary.require_confirmed()?;
                output.object(&json::success(&summary));
                Ok(())
            }
            _ => Err(Error::new(
                ErrorKind::Cancelled,
                format!("stopped, after {} sessions and {} that failed", served.succeeded, served.failed),
            )),
        }
    }

    /// Shows everything until the service is over; the first receipt that can't be written is the error.
    fn follow(&self) -> Result<(), Error> {
        let bars = Bars::new();
        let mut followers: HashMap<u64, Follower> = HashMap::new();
        let mut events = self.service.events();
        let mut receipts = Ok(());
        loop {
            match events.next_within(TICK) {
                Ok(ServiceEvent::Admitted(session)) => {
                    self.output.object(&json::admitted(&session));
                    let reporter = Reporter::new(self.output, &bars, Some(session.id()));
                    followers.insert(session.id(), Follower::new(session.watch().clone(), reporter));
                }
                Ok(ServiceEvent::TurnedAway { peer_addr, retry_after }) => {
                    self.output.object(&json::turned_away(&peer_addr.to_string(), retry_after));
                    self.output.note(&format!("{peer_addr} was turned away: no room for another session"));
                }
                Ok(ServiceEvent::Ended { session, result }) => {
                    if let Some(mut follower) = followers.remove(&session.id()) {
                        follower.look();
                    }
                    receipts = receipts.and(self.end(&session, &result));
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => followers.values_mut().for_each(Follower::look),
                Err(RecvTimeoutError::Disconnected) => return receipts,
            }
        }
    }

    fn end(&self, session: &Session, result: &Result<Summary, Error>) -> Result<(), Error> {
        let who = format!("#{} ({})", session.id(), session.peer_addr());
        self.output.object(&json::ended(session, result));
        match result {
            Ok(summary) => {
                self.output.result(&words::summary(&format!("{who}: {}", self.verb), summary, &self.place));
                match self.receipt {
                    Some(receipt) => PendingFile::create(receipt)?.publish(&summary.receipt().to_json()),
                    None => Ok(()),
                }
            }
            // Served once, it is the command's own failure, and said at the end.
            Err(_) if self.listen.once => Ok(()),
            Err(error) => {
                self.output.note(&format!("{who}: {}", describe(error)));
                Ok(())
            }
        }
    }
}
