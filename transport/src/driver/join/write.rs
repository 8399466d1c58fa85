//! Chunks on their way into files.

use std::fs::File;
use std::io;
use std::sync::Arc;

use longhaul_core::id::ItemId;

use super::Report;
use crate::bytes::Bytes;
use crate::chunk::Chunk;
use crate::driver::{Message, Queue};

/// A chunk to be written into a file.
pub struct WriteOp {
    id: ItemId,
    file: Arc<File>,
    offset: u64,
    chunk: Chunk,
    /// It is all of the file.
    whole: bool,
    queue: Queue,
}

impl WriteOp {
    pub(crate) const fn new(
        id: ItemId,
        file: Arc<File>,
        offset: u64,
        chunk: Chunk,
        whole: bool,
        queue: Queue,
    ) -> Self {
        Self { id, file, offset, chunk, whole, queue }
    }

    /// The file.
    #[must_use]
    pub const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where in the file it begins.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// What is to be written: all of it, or what comes first and lies in memory.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        self.chunk.bytes()
    }

    /// What is to be written, some of which may be in pipes.
    #[must_use]
    pub const fn chunk(&mut self) -> &mut Chunk {
        &mut self.chunk
    }

    /// Whether it is all of its file: no other chunk of it comes.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// It is written, all of it, or could not be.
    pub fn done(self, result: io::Result<()>) {
        let Self { id, file, offset, chunk, whole: _, queue } = self;
        // The buffer is free again before anybody hears of it.
        drop(chunk);
        queue.send(Message::FromSink(match result {
            Ok(()) => Report::Written { id, file, offset },
            Err(error) => Report::WriteFailed { id, file, offset, error },
        }));
    }
}
