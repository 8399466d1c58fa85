//! What the failure of an operation leads to, and what it means to the sink's user.

use std::io;

use super::{Landing, LandingState, Request};
use crate::landing::{FileOp, OpError, Rename, Rotten};
use crate::sink::{READ_BACK, SinkError, SinkErrorKind};

impl Landing {
    /// An operation did not do what it was asked for.
    pub(super) fn failed(&mut self, op: FileOp, error: OpError) {
        if matches!(self.request, Request::Abort | Request::CleanUp) {
            // Nothing depends on it: the next run sweeps what is left.
            tracing::warn!("{} failed: {error}", op.action());
            return;
        }
        let had_parents = std::mem::take(&mut self.parents_made);
        let kind = match &error {
            OpError::Io(error) => error.kind(),
            OpError::Held(_) | OpError::Journal(_) | OpError::Durability(_) | OpError::Rotten(..) => {
                io::ErrorKind::Other
            }
        };
        if self.request == Request::Item {
            let in_directory =
                op.name().as_bytes().contains(&b'/') && !matches!(op, FileOp::MakeParents { .. });
            if kind == io::ErrorKind::NotFound && !had_parents && in_directory {
                let name = op.name();
                self.queue.push_front(op);
                self.queue.push_front(FileOp::MakeParents { name });
                return;
            }
        } else if kind == io::ErrorKind::PermissionDenied
            && matches!(op, FileOp::SyncFile { .. } | FileOp::SyncDirectory { .. })
        {
            // Its own mode keeps us from opening it again: one sync of all needs no open.
            self.queue.clear();
            self.queue.extend([FileOp::SyncTree, FileOp::SyncStaging]);
            self.mark_all();
            return;
        } else if let (FileOp::KeepStaged { .. }, io::ErrorKind::NotFound) = (&op, kind) {
            // The journal alone was left: there is nothing to go on from.
            self.queue.retain(|op| !matches!(op, FileOp::BeginRun { .. }));
            self.start_over();
            return;
        } else if let (FileOp::OpenStaging, io::ErrorKind::NotFound) = (&op, kind) {
            // It was published, and staging is cleared up already: the rest goes on.
            return;
        } else if let (FileOp::Publish { how: Rename::NoReplace }, io::ErrorKind::Unsupported) = (&op, kind) {
            self.queue.push_front(FileOp::Publish { how: self.without_flags() });
            return;
        }
        self.queue.clear();
        let fatal = self.request != Request::Item || matches!(error, OpError::Durability(_));
        if let FileOp::CreateFile { id, .. } | FileOp::Reserve { id, .. } = &op
            && let Some(file) = self.open.remove(id)
            && matches!(op, FileOp::Reserve { .. })
        {
            self.queue.push_back(FileOp::RemoveFile { id: *id, name: file.name });
        }
        if let FileOp::KeepLink { id, name } = &op {
            // Without it the set's other names have nowhere to lead: the file will come again.
            self.forget(name.clone());
            self.queue.push_back(FileOp::RemoveFile { id: *id, name: name.clone() });
        }
        if matches!(op, FileOp::FinishDirectory { ref name, .. } if name.is_root()) {
            self.root_came = false;
        }
        if let OpError::Rotten(name, _) = &error {
            self.forget(name.clone());
        }
        let in_doubt = self.state == LandingState::InDoubt;
        let error = explain(&op, error, in_doubt);
        if matches!(error.kind, SinkErrorKind::Durability(_)) {
            self.doubt_all();
        }
        if fatal {
            self.fail_with(error);
            if in_doubt {
                self.state = LandingState::InDoubt;
            }
        } else if self.error.is_none() {
            self.error = Some(error);
        }
    }
}

/// What the failure of an operation means; `in_doubt` if the destination was renamed over.
fn explain(op: &FileOp, error: OpError, in_doubt: bool) -> SinkError {
    let name = op.name();
    let error = match error {
        OpError::Held(who) => return SinkError::whole(SinkErrorKind::Held(who)),
        OpError::Journal(error) => return SinkError::whole(SinkErrorKind::Journal(error.to_string())),
        OpError::Durability(error) => return SinkError::item(name, SinkErrorKind::Durability(error)),
        OpError::Rotten(name, Rotten::Differs) => return SinkError::item(name, SinkErrorKind::Rotten),
        OpError::Rotten(name, Rotten::Unreadable(offset, error)) => {
            return SinkError::io(name, READ_BACK, error).at(offset);
        }
        OpError::Io(error) if in_doubt => return SinkError::whole(SinkErrorKind::InDoubt(error)),
        OpError::Io(error) => error,
    };
    let kind = match (op, error.kind()) {
        (
            FileOp::SyncFile { .. }
            | FileOp::SyncDirectory { .. }
            | FileOp::SyncTree
            | FileOp::StartSync
            | FileOp::PollSync,
            _,
        ) => SinkErrorKind::Durability(error),
        (FileOp::Publish { .. }, io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty) => {
            SinkErrorKind::NotEmpty
        }
        (FileOp::Publish { how: Rename::Exchange }, io::ErrorKind::Unsupported) => {
            SinkErrorKind::NoAtomicRename("the file system can't exchange two directories")
        }
        (FileOp::Publish { .. }, io::ErrorKind::CrossesDevices | io::ErrorKind::ResourceBusy) => {
            SinkErrorKind::MountPoint
        }
        (FileOp::HardLink { .. }, io::ErrorKind::NotFound) => SinkErrorKind::NoSuchLink,
        (
            FileOp::CreateFile { .. }
            | FileOp::PutFile { .. }
            | FileOp::FinishDirectory { .. }
            | FileOp::MakeParents { .. }
            | FileOp::SymbolicLink { .. }
            | FileOp::HardLink { .. }
            | FileOp::Adopt { .. },
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory,
        ) => SinkErrorKind::NameTaken,
        _ => return SinkError::io(name, op.action(), error),
    };
    SinkError::item(name, kind)
}
