//! The root of a state on disk, in constant memory.

use std::path::Path;

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, ItemFold, RUN_LEN, RunHasher, crc32c};
use longhaul_state::root::RootBuilder;
use longhaul_state::source::{DirectoryOptions, DirectorySource, Progress, SourceError, SourceErrorKind};
use longhaul_state::{Item, Piece, Source};

use crate::error::{Error, ErrorKind};
use crate::receipt::Receipt;

const BUFFER_LEN: usize = 512 << 10;

pub(super) fn receipt(
    path: &Path,
    options: DirectoryOptions,
    integrity: Integrity,
    progress: &dyn Progress,
) -> Result<Receipt, Error> {
    let source = DirectorySource::new(path, options).map_err(local)?;
    receipt_of(&source, integrity, progress)
}

/// The same of any source.
pub(crate) fn receipt_of(
    source: &dyn Source,
    integrity: Integrity,
    progress: &dyn Progress,
) -> Result<Receipt, Error> {
    source.survey(&Stoppable(progress)).map_err(local)?;
    let mut walk = source.walk().map_err(local)?;
    let mut builder = RootBuilder::new(integrity);
    let mut reader = Reader { integrity, progress, buffer: vec![0; BUFFER_LEN], done: 0 };
    let mut id = ItemId(0);
    while let Some(item) = walk.next().map_err(local)? {
        let (size, checksum) = if item.as_wire().what.has_content() {
            reader.checksum(source, &item)?
        } else {
            (0, Checksum::None)
        };
        builder.add(id, &item, size, &checksum).map_err(|error| {
            Error::new(ErrorKind::Source, format!("the hard links can't be followed: {error:?}"))
        })?;
        id = ItemId(id.0.saturating_add(1));
    }
    let (items, bytes) = builder.totals();
    Ok(Receipt { root: builder.finish(), items, bytes })
}

/// A source that is looked at where it is: there is no session, and no side.
pub(super) fn local(error: SourceError) -> Error {
    Error::from_source(error)
}

pub(super) fn stopped() -> Error {
    local(SourceError::whole(SourceErrorKind::Stopped))
}

struct Reader<'a> {
    integrity: Integrity,
    progress: &'a dyn Progress,
    buffer: Vec<u8>,
    /// Bytes of all items so far.
    done: u64,
}

impl Reader<'_> {
    fn checksum(&mut self, source: &dyn Source, item: &Item) -> Result<(u64, Checksum), Error> {
        let content = source.open(item).map_err(local)?;
        let mut fold = ItemFold::new(self.integrity);
        let mut run = RunHasher::new(self.integrity, 0);
        loop {
            let offset = run.next_offset();
            let room = RUN_LEN - offset % RUN_LEN;
            let len = BUFFER_LEN.min(usize::try_from(room).unwrap_or(BUFFER_LEN));
            let buffer = &mut self.buffer[..len];
            let moved = match content.read_at(offset, buffer).map_err(local)? {
                Piece::Data(len) => {
                    let crc = if self.integrity == Integrity::Crc32c { crc32c(&buffer[..len]) } else { 0 };
                    run.update(&buffer[..len], crc);
                    len as u64
                }
                // A hole may be longer than the run: the rest of it is met again.
                Piece::Hole(len) => {
                    let len = len.min(room);
                    run.update_hole(len);
                    len
                }
                Piece::End => break,
            };
            self.done += moved;
            if !self.progress.advance(self.done) {
                return Err(stopped());
            }
            let next = run.next_offset();
            if next.is_multiple_of(RUN_LEN) {
                push(&mut fold, std::mem::replace(&mut run, RunHasher::new(self.integrity, next)))?;
            }
        }
        content.close().map_err(local)?;
        let size = run.next_offset();
        push(&mut fold, run)?;
        fold.finish(size).map(|checksum| (size, checksum)).map_err(defect)
    }
}

fn push(fold: &mut ItemFold, run: RunHasher) -> Result<(), Error> {
    run.finish().map_or(Ok(()), |sum| fold.push(sum).map_err(defect))
}

fn defect(error: longhaul_core::integrity::FoldError) -> Error {
    Error::new(ErrorKind::Other, "runs read in order do not fold").with_cause(error)
}

/// Hears of the survey without counting it.
struct Stoppable<'a>(&'a dyn Progress);

impl Progress for Stoppable<'_> {
    fn advance(&self, _done: u64) -> bool {
        self.0.advance(0)
    }
}
