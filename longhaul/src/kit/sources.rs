//! Sources: what is surveyed is what is walked, and what is read is the same in each way.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use longhaul_core::transfer::LogPoint;

use super::carry::{failed, has_content};
use super::subject::Subject;
use super::trial::{Outcome, Trial};
use crate::{Content, Item, Piece, Source, What};

impl<S: Subject> Trial<S> {
    /// Two sources of one capture, with nothing written meanwhile.
    pub(super) fn source_whole(&mut self) -> Outcome {
        let bench = Arc::clone(&self.bench);
        let delivered = self.draw.within(1, bench.mixed.len());
        let provider = self.provider(&bench.mixed, delivered)?;
        let taken = bench.capture(&provider, LogPoint::default())?;
        let mut found = Vec::new();
        for _ in 0..2 {
            let source = bench.call("Snapshot::source", || Ok(taken.snapshot.source(b"")?))?;
            found.push(bench.call("Source", || Ok(read(&*source)?))?);
        }
        let [first, second] = &found[..] else { unreachable!("two were read") };
        if first != second {
            return Err("two sources of one capture yield different items".into());
        }
        Ok(())
    }
}

/// All items, each with its bytes.
fn read(source: &dyn Source) -> Outcome<Vec<(Item, Vec<u8>)>> {
    let survey = source.survey(&()).map_err(failed("Source::survey"))?;
    let mut walk = source.walk().map_err(failed("Source::walk"))?;
    let mut found = Vec::new();
    while let Some(item) = walk.next().map_err(failed("Walk::next"))? {
        let bytes = if has_content(&item) { content(source, &item)? } else { Vec::new() };
        found.push((item, bytes));
    }
    let bytes: u64 = found.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    if survey.items != found.len() as u64 || survey.bytes.is_some_and(|surveyed| surveyed != bytes) {
        let surveyed = survey.bytes.map_or("any number of".into(), |bytes| bytes.to_string());
        return Err(format!(
            "surveyed were {} items of {surveyed} bytes, and {} items of {bytes} bytes came",
            survey.items,
            found.len()
        ));
    }
    Ok(found)
}

fn content(source: &dyn Source, item: &Item) -> Outcome<Vec<u8>> {
    let content = source.open(item).map_err(failed("Source::open"))?;
    let bytes = in_order(&*content, item)?;
    if let What::File { size, .. } = item.what
        && size != bytes.len() as u64
    {
        return Err(format!("{} should have {size} bytes, and has {}", item.name, bytes.len()));
    }
    let mut offset = 0;
    while let Some((memory, range)) = content.memory(offset, 1000) {
        let piece = &memory[range];
        if piece.is_empty() && offset == bytes.len() as u64 {
            break;
        }
        let expected = bytes.get(offset as usize..).and_then(|rest| rest.get(..piece.len()));
        if piece.is_empty() || expected != Some(piece) {
            return Err(format!("{} has other bytes in memory than are read, at {offset}", item.name));
        }
        offset += piece.len() as u64;
    }
    if let Some(file) = content.file() {
        let mut stored = vec![0; bytes.len()];
        let read = (&*file).seek(SeekFrom::Start(0)).and_then(|_| (&*file).read_exact(&mut stored));
        if read.is_err() || stored != bytes {
            return Err(format!("{} has other bytes in its file than are read", item.name));
        }
    }
    content.close().map_err(failed("Content::close"))?;
    Ok(bytes)
}

fn in_order(content: &dyn Content, item: &Item) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match content.read_at(bytes.len() as u64, &mut buffer).map_err(failed("Content::read_at"))? {
            Piece::Data(len) if len > 0 && len <= buffer.len() => bytes.extend_from_slice(&buffer[..len]),
            Piece::Hole(len) if len > 0 => bytes.resize(bytes.len() + len as usize, 0),
            Piece::End => return Ok(bytes),
            Piece::Data(len) => return Err(format!("{}: {len} bytes were read into 1000", item.name)),
            Piece::Hole(_) => return Err(format!("{}: a hole of no bytes", item.name)),
        }
    }
}
