//! The thread that writes a lane: takes bursts and writes each with as few system calls as it can.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{BURSTS, Port};
use crate::bytes::Bytes;
use crate::driver::{Message, Queue};
use crate::stream::{WriteHalf, write_all_vectored};
use crate::threads::Threads;

/// Frames and payloads to be written one after another.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    control: Vec<u8>,
    segments: Vec<Segment>,
    len: usize,
}

#[derive(Debug)]
enum Segment {
    Control(Range<usize>),
    Payload(Bytes),
}

/// Slices that one system call takes (`IOV_MAX` is 1024 on Linux).
const SLICES: usize = 512;
/// What a burst that comes back keeps of its memory for control frames, in bytes.
const KEPT: usize = 64 << 10;

impl Burst {
    /// Bytes in it.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written is let go; the memory serves the next one.
    fn clear(&mut self) {
        self.control.clear();
        self.control.shrink_to(KEPT);
        self.segments.clear();
        self.segments.shrink_to(SLICES);
        self.len = 0;
    }

    /// Appends headers and bodies.
    pub(crate) fn control(&mut self, bytes: &[u8]) {
        let start = self.control.len();
        self.control.extend_from_slice(bytes);
        self.len += bytes.len();
        match self.segments.last_mut() {
            Some(Segment::Control(range)) => range.end = self.control.len(),
            _ => self.segments.push(Segment::Control(start..self.control.len())),
        }
    }

    /// Appends a payload: a small one is copied, which costs less than a slice of its own.
    pub(crate) fn payload(&mut self, bytes: Bytes) {
        const COPY: usize = 1024;
        if bytes.len() <= COPY {
            return self.control(&bytes);
        }
        self.len += bytes.len();
        self.segments.push(Segment::Payload(bytes));
    }
}

/// The way to a lane's writer thread; dropping it ends the thread once all is written.
pub(super) struct Writer(SyncSender<Burst>);

impl Writer {
    /// `false` if the thread has ended.
    pub(super) fn send(&self, burst: Burst) -> bool {
        self.0.send(burst).is_ok()
    }
}

pub(super) fn start(port: Port, out: WriteHalf, queue: Queue, threads: &Threads) -> Writer {
    // Never full: the driver sends only while it counts room, and the last burst room or not.
    let (sender, receiver) = sync_channel(BURSTS + 1);
    threads.spawn(format!("longhaul-write-{}", port.lane.0), move || run(port, out, &receiver, &queue));
    Writer(sender)
}

fn run(port: Port, mut out: WriteHalf, bursts: &Receiver<Burst>, queue: &Queue) {
    while let Ok(mut burst) = bursts.recv() {
        let bytes = burst.len() as u64;
        for segments in burst.segments.chunks(SLICES) {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, segment) in slices.iter_mut().zip(segments) {
                *slice = match segment {
                    Segment::Control(range) => IoSlice::new(&burst.control[range.clone()]),
                    Segment::Payload(bytes) => IoSlice::new(bytes),
                };
            }
            if let Err(error) = write_all_vectored(&mut *out, &mut slices[..segments.len()]) {
                return queue.send(Message::LaneEnded { port, error: Some(error) });
            }
        }
        // Buffers go back to the pool now, not when the burst is used again.
        burst.clear();
        queue.send(Message::Sent { port, bytes, burst });
    }
    queue.send(Message::WriterEnded { port });
}
