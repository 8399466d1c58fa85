//! Counts the content that goes through a proxy, and acts when so much of it has.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use longhaul_core::wire::{HEADER_LEN, Header, Kind};

use crate::between::{Toward, Watch};

/// What is done when so much has come.
type Act = Box<dyn FnOnce() + Send>;

/// Counts bytes of content, headers and offers left out.
#[derive(Default)]
pub(super) struct Meter(Mutex<State>);

#[derive(Default)]
struct State {
    counted: u64,
    /// Where each connection is in its frames.
    places: HashMap<(usize, Toward), Place>,
    armed: Option<(u64, Act)>,
}

/// Where a connection is in its frames.
#[derive(Default)]
struct Place {
    /// The header that is coming.
    head: Vec<u8>,
    /// What is left of the frame whose header came last, and whether it is content.
    left: usize,
    content: bool,
    /// It is no sequence of frames: nothing of it is counted any more.
    lost: bool,
}

impl Place {
    /// How much of `bytes` is content.
    fn content_of(&mut self, mut bytes: &[u8]) -> usize {
        let mut content = 0;
        while !bytes.is_empty() && !self.lost {
            let taken = self.left.min(bytes.len());
            content += if self.content { taken } else { 0 };
            self.left -= taken;
            bytes = &bytes[taken..];
            if self.left > 0 {
                break;
            }
            let taken = (HEADER_LEN - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            let Some(head) = self.head.first_chunk() else { break };
            match Header::parse(head) {
                Ok(header) => (self.left, self.content) = (header.len as usize, header.kind == Kind::Data),
                Err(_) => self.lost = true,
            }
            self.head.clear();
        }
        content
    }
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much has come since it was last asked, and nothing is done any more when more comes. The connections
    /// that it came on are over.
    pub(super) fn read(&self) -> u64 {
        let mut state = self.lock();
        state.places.clear();
        state.armed = None;
        std::mem::take(&mut state.counted)
    }

    /// Does `act` when so much has come.
    pub(super) fn at(&self, bytes: u64, act: impl FnOnce() + Send + 'static) {
        self.lock().armed = Some((bytes, Box::new(act)));
    }

    /// Whether what was to be done is done.
    pub(super) fn has_acted(&self) -> bool {
        self.lock().armed.is_none()
    }
}

impl Watch for Meter {
    fn carried(&self, connection: usize, toward: Toward, bytes: &[u8]) {
        let mut state = self.lock();
        let content = state.places.entry((connection, toward)).or_default().content_of(bytes);
        state.counted += content as u64;
        let counted = state.counted;
        let due = state.armed.take_if(|(at, _)| counted >= *at);
        drop(state);
        if let Some((_, act)) = due {
            act();
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::id::ItemId;
    use longhaul_core::wire::{FRAME_MAX, Frame};

    use super::*;

    fn frame(frame: &Frame<'_>) -> Vec<u8> {
        let mut out = [0; FRAME_MAX];
        let len = frame.emit(&mut out).unwrap();
        out[..len].to_vec()
    }

    #[test]
    fn content_alone_is_counted_however_it_comes() {
        let data = Frame::Data { id: ItemId(0), attempt: 0, offset: 0, len: 9, run_end: true, crc: None };
        let stream = [frame(&Frame::Prepare { requests: 1 }), frame(&data), vec![7; 9], frame(&Frame::Begin)];
        let stream = stream.concat();
        for piece in 1..=stream.len() {
            let meter = Meter::default();
            stream.chunks(piece).for_each(|bytes| meter.carried(0, Toward::Dialler, bytes));
            assert_eq!(meter.read(), 9, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_count() {
        let meter = Meter::default();
        meter.carried(0, Toward::Dialler, &[7; 4096]);
        assert_eq!(meter.read(), 0);
    }
}
