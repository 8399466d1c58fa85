//! What the sink thread, and whoever writes, tells the joiner's driver.

use std::fs::File;
use std::sync::Arc;

use longhaul_core::id::{ItemId, TaskId};
use longhaul_core::integrity::{ItemFold, Root};
use longhaul_core::reason::{Reason, Side};
use longhaul_state::sink::{Checkpoint, Content, Place, SinkError, WRITE};
use longhaul_state::transfer::{Event, TransferError};

use super::items::Sums;
use super::land::SinkOp;
use super::{Join, defect};
use crate::driver::Io;

/// What a joiner's helpers report.
pub(crate) enum Report {
    /// The sink is ready.
    Begun,
    /// An item is open.
    Opened { id: ItemId, place: Place, kept: Option<Content> },
    /// Items were completed.
    Landed(Vec<ItemId>),
    /// A chunk was written into its file.
    Written { id: ItemId, file: Arc<File>, offset: u64 },
    /// How far a checkpoint is.
    Checkpoint(Checkpoint),
    /// Count, bytes, root.
    Summed { items: u64, bytes: u64, root: Root },
    /// Everything is durable.
    Synced { caveat: Option<&'static str> },
    /// The state is published.
    Published { app_reply: Vec<u8> },
    /// The sink failed.
    Failed(SinkError),
    /// The sink panicked.
    Panicked,
    /// A chunk could not be written.
    WriteFailed { id: ItemId, file: Arc<File>, offset: u64, error: std::io::Error },
}

impl Join {
    pub(in crate::driver) fn handle(&mut self, report: Report, io: &mut Io<'_>) -> Result<(), TransferError> {
        match report {
            Report::Begun => {
                self.at_disk = false;
                io.machine.handle_begun(TaskId(0), io.now);
            }
            Report::Opened { id, place, kept } => self.opened(id, place, kept, io)?,
            Report::Checkpoint(checkpoint) => {
                self.checkpoints.answered(checkpoint);
                self.go_on(io);
            }
            Report::Landed(ids) => {
                for id in ids {
                    io.machine.handle_finished(id, true, io.now);
                }
            }
            Report::Written { id, file, offset } => {
                io.machine.handle_work(1, io.now);
                // A chunk of an attempt that failed went into a file that is gone.
                let current = |place: &Place| matches!(place, Place::File(open) if Arc::ptr_eq(open, &file));
                if let Some(open) =
                    self.open.get_mut(&id).filter(|open| open.place.as_ref().is_some_and(current))
                {
                    if let Some(at) = open.writes.iter().position(|write| *write == offset) {
                        open.writes.swap_remove(at);
                    }
                    open.note_written();
                    self.finish_open(id, io);
                }
            }
            Report::Summed { items, bytes, root } => {
                self.summed = Some((items, bytes, root));
                io.machine.handle_root(Side::Joiner, TaskId(0), (items, bytes, root), io.now);
                if !io.machine.is_over() {
                    io.control.emit(&Event::Agreed { root });
                }
            }
            Report::Synced { caveat } => {
                self.at_disk = false;
                self.caveat = caveat;
                if let Some(caveat) = caveat {
                    io.control.emit(&Event::Warning(format!("durability is {caveat}")));
                }
                io.machine.handle_durable(io.now);
            }
            Report::Published { app_reply } => {
                self.plan.handle_installed();
                let len = io.machine.handle_installed(&app_reply, &mut io.scratch[..]);
                if let Some(control_lane) = &mut io.lanes[0] {
                    control_lane.building.control(&io.scratch[..len]);
                }
            }
            Report::Failed(error) => return Err(TransferError::sink(error, io.machine.phase())),
            Report::Panicked => {
                let phase = io.machine.phase();
                return Err(TransferError::new(Reason::Internal, Side::Joiner, phase, "the sink panicked"));
            }
            Report::WriteFailed { id, file, offset, error } => {
                let current = |place: &Place| matches!(place, Place::File(open) if Arc::ptr_eq(open, &file));
                let Some(open) = self.open.get(&id).filter(|open| open.place.as_ref().is_some_and(current))
                else {
                    return Ok(());
                };
                let error = SinkError::io(open.item.name.clone(), WRITE, error).at(offset);
                self.batch.push(SinkOp::WriteFailed { id, error });
            }
        }
        Ok(())
    }

    fn opened(
        &mut self,
        id: ItemId,
        place: Place,
        kept: Option<Content>,
        io: &mut Io<'_>,
    ) -> Result<(), TransferError> {
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        open.place = Some(place);
        if let Some((lane, chunk)) = open.whole.take() {
            self.place(lane, id, 0, chunk, io)?;
            self.finish_open(id, io);
            return Ok(());
        }
        let Some(content) = kept else {
            io.machine.handle_opened(id, io.now);
            return Ok(());
        };
        let len = content.len(open.item.as_wire().what.size().unwrap_or(0));
        (open.received, open.claimable) = (len, len);
        open.sums = match content {
            Content::Whole(checksum) => Sums::Kept(checksum),
            Content::Part(prefix) => Sums::Fold(Box::new(ItemFold::from_prefix(&prefix))),
        };
        io.control.add_resumed(len);
        io.machine.handle_kept(id, len, io.now);
        Ok(())
    }

    pub(super) fn tell_kept(&self, id: ItemId, offset: u64, io: &mut Io<'_>) -> Result<(), TransferError> {
        let told = |sums: &[u8], io: &mut Io<'_>| {
            let len = io.machine.handle_kept_sums(id, offset, sums, &mut io.scratch[..]);
            if let Some(control_lane) = &mut io.lanes[0] {
                control_lane.building.control(&io.scratch[..len]);
            }
        };
        match self.open.get(&id).map(|open| &open.sums) {
            Some(Sums::Kept(checksum)) => told(&checksum.as_sums(), io),
            Some(Sums::Fold(fold)) if fold.frontier() == offset && fold.prefix().is_some() => {
                let prefix = fold.prefix().expect("just looked at");
                told(prefix.sums(), io);
            }
            _ => return Err(defect(io, "what is kept of an item has no checksum")),
        }
        Ok(())
    }
}
