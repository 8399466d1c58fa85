//! The order of durability, told by an executor that only writes down what it is asked for.

mod claims;
mod order;
mod publishing;
mod room;

use std::io;

use longhaul_core::id::ItemId;

use super::journal::{Claim, Claimed, Loaded, Ready};
use super::*;
use crate::item::{Item, Name, What};
use crate::sink::SinkError;
use crate::source::Survey;

/// Where to fail, and how.
type Failure = (&'static str, fn() -> OpError);

/// Writes operations down; the one at which it is told to fail fails, once.
struct Recorder {
    log: Vec<String>,
    fail: Option<Failure>,
    destination: Destination,
    space: Space,
    probed: Probed,
    /// What an earlier run claims of whatever is looked for.
    claim: Option<Claim>,
    /// What it was about to publish, and which inodes stand at the destination and in staging.
    ready: Option<Ready>,
    identities: (Option<u64>, Option<u64>),
    /// Whether what is claimed is there.
    adopts: bool,
    /// Files to be read back.
    to_read: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            log: Vec::new(),
            fail: None,
            destination: Destination::Absent,
            space: Space {
                free_bytes: Some(1 << 40),
                free_inodes: None,
                longest_name: Some(255),
                syncs_tree: true,
                caveat: None,
            },
            probed: Probed { no_replace: true, exchange: true },
            claim: None,
            ready: None,
            identities: (None, None),
            adopts: true,
            to_read: 0,
        }
    }
}

impl Executor for Recorder {
    fn execute(&mut self, op: &FileOp, _payload: &[u8]) -> Result<OpReply, OpError> {
        let line = format!("{op:?}");
        let kind = line.split([' ', '{']).next().unwrap();
        let entry = match op {
            FileOp::Publish { how } => format!("Publish {how:?}"),
            FileOp::RemoveStaging { leftover } => format!("RemoveStaging {leftover:?}"),
            _ if op.name().is_root() => kind.to_owned(),
            _ => format!("{kind} {}", op.name()),
        };
        let failing = self.fail.take_if(|(at, _)| entry.starts_with(*at));
        self.log.push(entry);
        if let Some((_, error)) = failing {
            return Err(error());
        }
        Ok(match op {
            FileOp::Inspect => OpReply::Destination(self.destination),
            FileOp::MeasureSpace => OpReply::Space(self.space),
            FileOp::Probe => OpReply::Probed(self.probed),
            FileOp::LoadJournal => {
                let loaded = Loaded { run: 1, ready: self.ready, ..Loaded::default() };
                OpReply::Journal(self.claim.as_ref().map(|_| Box::new(loaded)))
            }
            FileOp::KeepStaged { .. } => OpReply::Claimed(Claimed { files: 1, bytes: 10 }),
            FileOp::Find { .. } => OpReply::Claim(self.claim.clone().map(Box::new)),
            FileOp::Adopt { .. } => OpReply::Found(self.adopts),
            FileOp::ReadBack { from } => {
                let at = from.unwrap_or(0);
                OpReply::ReadBack { next: (at < self.to_read).then_some(at + 1) }
            }
            FileOp::FindJournal | FileOp::PollSync => OpReply::Found(true),
            FileOp::Identify => {
                let (destination, staged) = self.identities;
                OpReply::Identities { destination, staged, is_directory: true }
            }
            FileOp::StartSync => OpReply::Covers(77),
            FileOp::CreateFile { .. } | FileOp::FinishFile { .. } | FileOp::PutFile { .. } => {
                OpReply::Inode(5)
            }
            _ => OpReply::Done,
        })
    }
}

impl Recorder {
    fn failing(at: &'static str, error: fn() -> OpError) -> Self {
        Self { fail: Some((at, error)), ..Self::default() }
    }

    fn position(&self, entry: &str) -> usize {
        self.log
            .iter()
            .position(|line| line.starts_with(entry))
            .unwrap_or_else(|| panic!("no {entry}: {:?}", self.log))
    }

    fn did(&self, entry: &str) -> bool {
        self.log.iter().any(|line| line.starts_with(entry))
    }
}

fn eio() -> OpError {
    OpError::Io(io::Error::from_raw_os_error(5))
}

fn kind(kind: io::ErrorKind) -> OpError {
    OpError::Io(kind.into())
}

fn item(name: &str, what: What) -> Item {
    Item { name: Name::new(name.as_bytes()).unwrap(), what, ..Item::stream() }
}

fn file(name: &str) -> Item {
    item(name, What::File { size: 1, linked: false, sparse: false })
}

fn large() -> Survey {
    Survey { bytes: Some(2 << 20), allocated: 2 << 20, items: 3, ..Survey::default() }
}

fn replacing() -> LandingOptions {
    LandingOptions { replace: true, ..LandingOptions::default() }
}

/// One request, carried out.
fn ask(
    landing: &mut Landing,
    recorder: &mut Recorder,
    request: impl FnOnce(&mut Landing),
) -> Result<(), SinkError> {
    request(landing);
    run(landing, recorder, &[], &mut || true)
}

/// A whole landing of `files` files in one directory.
fn land(
    options: LandingOptions,
    recorder: &mut Recorder,
    survey: Survey,
    files: u32,
) -> Result<Landing, SinkError> {
    let mut landing = Landing::new(options);
    let result = (|| {
        ask(&mut landing, recorder, |landing| landing.begin(&survey))?;
        for id in 0..files {
            ask(&mut landing, recorder, |landing| landing.put(ItemId(id), &file(&format!("d/f{id}"))))?;
        }
        ask(&mut landing, recorder, |landing| landing.put(ItemId(files), &item("d", What::Directory)))?;
        ask(&mut landing, recorder, |landing| landing.put(ItemId(files + 1), &item("", What::Directory)))?;
        ask(&mut landing, recorder, Landing::sync)?;
        ask(&mut landing, recorder, Landing::publish)?;
        ask(&mut landing, recorder, Landing::clean_up)
    })();
    if let Err(error) = result {
        let state = landing.state();
        ask(&mut landing, recorder, Landing::abort).unwrap();
        assert_ne!(state, LandingState::Published);
        return Err(error);
    }
    Ok(landing)
}
