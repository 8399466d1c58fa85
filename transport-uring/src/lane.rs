//! A lane: a task that receives from its connection and a task that sends on it.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use longhaul_core::wire::WireError;
use longhaul_state::pool::Share;
use longhaul_transport::{
    Burst, Connection, Cutter, Receiver, Receiving, Reporter, Running, Sending, Step, Telling,
};

use crate::local::{Local, buffer};
use crate::op;
use crate::splice;

pub(crate) fn start_receiving(local: &Rc<Local>, lane: Receiving, running: Running) {
    let Receiving { reporter, connection, cutter, share, .. } = lane;
    let incoming = Incoming { local: Rc::clone(local), connection, share, reporter };
    local.spawn(running, incoming.run(cutter));
}

pub(crate) fn start_sending(local: &Rc<Local>, lane: Sending, running: Running) {
    let Sending { reporter, connection, bursts, .. } = lane;
    local.spawn(running, send(Arc::clone(connection.stream()), bursts, reporter));
}

struct Incoming {
    local: Rc<Local>,
    connection: Connection,
    share: Share,
    reporter: Reporter,
}

/// Why the receiving ended.
enum Ended {
    Stopped,
    Io(Option<io::Error>),
    Invalid(WireError),
}

impl Incoming {
    /// Receives to the end, and tells why it came.
    async fn run(self, mut cutter: Cutter) {
        let ended = self.receive_frames(&mut cutter).await;
        if let Some((buffer, frames)) = cutter.rest() {
            self.reporter.frames(buffer, frames);
        }
        match ended {
            Ended::Stopped => {}
            Ended::Io(error) => self.reporter.ended(error),
            Ended::Invalid(error) => {
                self.reporter.invalid(error);
                self.reporter.ended(self.discard().await);
            }
        }
    }

    async fn receive_frames(&self, cutter: &mut Cutter) -> Ended {
        let mut telling = Telling::default();
        loop {
            match cutter.step() {
                Ok(Step::Buffer) => match buffer(&self.share, || self.reporter.is_stopped()).await {
                    Some(buffer) => cutter.supply(buffer),
                    None => return Ended::Stopped,
                },
                Ok(Step::Frames(buffer, frames)) => self.reporter.frames(buffer, frames),
                Ok(Step::Splice(coming)) => {
                    if let Err(error) =
                        splice::receive(self.connection.stream(), coming, &self.reporter).await
                    {
                        return Ended::Io(error);
                    }
                }
                Ok(Step::Read(window)) => {
                    self.connection.wake_for_many(window.missing);
                    let index = self.local.registered.index(&window.buffer);
                    let socket = self.connection.stream();
                    let (result, buffer) = op::receive(socket, window.buffer, window.range, index).await;
                    let bytes = *result.as_ref().unwrap_or(&0);
                    self.local.registered.moved(bytes);
                    let missing = cutter.received(buffer, bytes);
                    match result {
                        Ok(0) => return Ended::Io(None),
                        Ok(_) => {}
                        Err(error) => return Ended::Io(Some(error)),
                    }
                    if let Some(coming) = telling.came(bytes, missing) {
                        self.reporter.coming(coming);
                    }
                }
                Err(error) => return Ended::Invalid(error),
            }
        }
    }

    /// Receives to the end, and keeps nothing.
    async fn discard(&self) -> Option<io::Error> {
        let mut nowhere = buffer(&self.share, || self.reporter.is_stopped()).await?;
        loop {
            let (whole, index) = (0..nowhere.len(), self.local.registered.index(&nowhere));
            let result;
            (result, nowhere) = op::receive(self.connection.stream(), nowhere, whole, index).await;
            match result {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
    }
}

/// Sends all bursts that come.
async fn send(socket: Arc<TcpStream>, bursts: Receiver<Burst>, reporter: Reporter) {
    let mut spent = None;
    while let Some(burst) = bursts.next().await {
        let (mut sending, mut told) = (op::Sending::new(burst, spent), 0);
        while !sending.is_done() {
            let result;
            (result, sending) = op::send(&socket, sending).await;
            match result {
                Ok(0) => return reporter.ended(Some(io::ErrorKind::WriteZero.into())),
                Ok(bytes) if !sending.is_done() => {
                    told += bytes as u64;
                    reporter.taken(bytes as u64);
                }
                Ok(_) => {}
                Err(error) => return reporter.ended(Some(error)),
            }
        }
        let mut burst = sending.take_burst();
        if let Some(chunk) = burst.take_piped() {
            match splice::send(&socket, chunk, &reporter).await {
                Ok(some) => told += some,
                Err(error) => return reporter.ended(Some(error)),
            }
        }
        reporter.sent(burst, told);
        spent = Some(sending);
    }
    reporter.finished();
}
