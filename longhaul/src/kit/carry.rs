//! A source's items on their way into a sink, as a session brings them, with a pause between any two pieces.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use longhaul_core::id::ItemId;

use super::draw::Draw;
use super::trial::Outcome;
use crate::{Content, Item, Piece, Place, Sink, Source, What};

/// Bytes of the longest piece.
const PIECE: u64 = 4096;

/// Brings all of the source, makes it durable and publishes it.
pub(super) fn carry(
    source: &dyn Source,
    sink: &mut dyn Sink,
    draw: &mut Draw,
    between: &mut dyn FnMut() -> Outcome,
) -> Outcome {
    let survey = source.survey(&()).map_err(failed("Source::survey"))?;
    sink.begin(&survey).map_err(failed("Sink::begin"))?;
    between()?;
    let mut walk = source.walk().map_err(failed("Source::walk"))?;
    for number in 0.. {
        let Some(item) = walk.next().map_err(failed("Walk::next"))? else { break };
        let id = ItemId(number);
        if has_content(&item) {
            let place = sink.open(id, &item).map_err(failed("Sink::open"))?;
            let content = source.open(&item).map_err(failed("Source::open"))?;
            let mut into = Into { sink, id, place };
            let len = into.pour(&*content, draw, between)?;
            content.close().map_err(failed("Content::close"))?;
            sink.finish(id, len).map_err(failed("Sink::finish"))?;
        } else {
            sink.put(id, &item, b"").map_err(failed("Sink::put"))?;
        }
        between()?;
    }
    sink.sync(&()).map_err(failed("Sink::sync"))?;
    sink.publish().map_err(failed("Sink::publish"))
}

pub(super) fn has_content(item: &Item) -> bool {
    matches!(item.what, What::File { .. } | What::Stream)
}

/// Says which call failed.
pub(super) fn failed<E: Display>(call: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{call} failed: {error}")
}

/// An item that is open in a sink.
struct Into<'a> {
    sink: &'a mut dyn Sink,
    id: ItemId,
    place: Place,
}

impl Into<'_> {
    /// The content, piece by piece; its length.
    fn pour(
        &mut self,
        content: &dyn Content,
        draw: &mut Draw,
        between: &mut dyn FnMut() -> Outcome,
    ) -> Outcome<u64> {
        let mut offset = 0;
        loop {
            let mut buffer = vec![0; draw.within(1, PIECE) as usize];
            match content.read_at(offset, &mut buffer).map_err(failed("Content::read_at"))? {
                Piece::Data(len) => {
                    self.write(offset, &buffer[..len.min(buffer.len())])?;
                    offset += len as u64;
                }
                Piece::Hole(len) => {
                    self.sink.hole(self.id, offset, len).map_err(failed("Sink::hole"))?;
                    offset += len;
                }
                Piece::End => return Ok(offset),
            }
            between()?;
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Outcome {
        match &self.place {
            Place::Sink => self.sink.write(self.id, offset, bytes).map_err(failed("Sink::write")),
            Place::File(file) => {
                write_at(file, offset, bytes).map_err(failed("writing to the file that the sink opened"))
            }
            Place::Discard => Ok(()),
        }
    }
}

fn write_at(mut file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}
