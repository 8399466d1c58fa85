//! A directory sink whose claims are seen.

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Prefix};
use longhaul_state::sink::{Agreed, Checkpoint, DirectorySink, Kept, Resume, SinkError};
use longhaul_state::source::{Progress, Survey};
use longhaul_state::{Item, Place, Sink};

use super::Stamps;

/// Stamps what of one file is durable: how many bytes from its start, or `u64::MAX` once it is all of them.
pub(crate) struct Durable {
    sink: DirectorySink,
    claims: Stamps,
    /// What the disk has begun with.
    begun: u64,
}

impl Durable {
    pub(crate) fn watch(sink: DirectorySink) -> (Self, Stamps) {
        let claims = Stamps::default();
        (Self { sink, claims: claims.clone(), begun: 0 }, claims)
    }
}

impl Sink for Durable {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        self.sink.begin(survey)
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        self.sink.open(id, item)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.sink.write(id, offset, bytes)
    }

    fn hole(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SinkError> {
        self.sink.hole(id, offset, len)
    }

    fn finish(&mut self, id: ItemId, len: u64) -> Result<(), SinkError> {
        self.sink.finish(id, len)
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.sink.discard(id)
    }

    fn put(&mut self, id: ItemId, item: &Item, content: &[u8]) -> Result<(), SinkError> {
        self.sink.put(id, item, content)
    }

    fn sync(&mut self, progress: &dyn Progress) -> Result<(), SinkError> {
        self.sink.sync(progress)?;
        self.claims.stamp(u64::MAX);
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        self.sink.publish()
    }

    fn abort(&mut self) {
        self.sink.abort();
    }

    fn app_reply(&self) -> Vec<u8> {
        self.sink.app_reply()
    }

    fn resuming(&mut self) -> Option<&mut dyn Resume> {
        Some(self)
    }

    fn caveat(&self) -> Option<&'static str> {
        self.sink.caveat()
    }
}

impl Resume for Durable {
    fn holds(&self) -> bool {
        self.sink.holds()
    }

    fn reopen(&mut self, id: ItemId, item: &Item, integrity: Integrity) -> Result<Option<Kept>, SinkError> {
        self.sink.reopen(id, item, integrity)
    }

    fn vouch(&mut self, item: &Item, size: u64, checksum: &Checksum) -> Result<(), SinkError> {
        self.sink.vouch(item, size, checksum)
    }

    fn checkpoint(&mut self, parts: &[(ItemId, Prefix)]) -> Result<Checkpoint, SinkError> {
        let checkpoint = self.sink.checkpoint(parts)?;
        match checkpoint {
            Checkpoint::Begun => {
                self.begun = parts.iter().map(|(_, prefix)| prefix.offset()).max().unwrap_or(self.begun);
            }
            Checkpoint::Claimed { .. } => self.claims.stamp(self.begun),
            Checkpoint::None | Checkpoint::UnderWay => {}
        }
        Ok(checkpoint)
    }

    fn doubt(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.sink.doubt(id)
    }

    fn agreed(&mut self, agreed: Agreed) {
        self.sink.agreed(agreed);
    }
}
