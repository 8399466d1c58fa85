//! The journal as a file: appended to by one process, read by the next.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::index::Index;
use super::record::{self, Claim, Content, Record};
use super::{HEADER_LEN, JOURNAL_VERSION, JournalError, Loaded};
use crate::item::Name;

const MAGIC: &[u8; 8] = b"longhaul";
/// Records are gathered into writes of about this size.
const GATHERED: usize = 64 << 10;
/// The longest record: a claim with a name of 4095 bytes and the sums of a BLAKE3 prefix.
const RECORD_MAX: usize = 8 << 10;

/// Bytes that can be read and written anywhere: a file, or a simulation's.
pub trait Store {
    /// Reads what there is at `offset`, at most `bytes`; less only at the end.
    ///
    /// # Errors
    /// If it can't be read.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// If it can't be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it, or lengthens it by zeros.
    ///
    /// # Errors
    /// If that is not possible.
    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Makes everything durable.
    ///
    /// # Errors
    /// If that can't be promised: nothing that was written since the last sync counts.
    fn sync(&mut self) -> io::Result<()>;
}

impl Store for File {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < bytes.len() {
            match FileExt::read_at(self, &mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A journal that is open.
#[derive(Debug)]
pub struct JournalFile<S = File> {
    store: S,
    nonce: u64,
    /// Bytes in the file.
    written: u64,
    /// Records behind them.
    gathered: Vec<u8>,
    index: Option<Index<S>>,
}

impl<S: Store> JournalFile<S> {
    /// A new journal in an empty `store`. It is durable after the first [`JournalFile::sync`].
    ///
    /// # Errors
    /// If it can't be written.
    pub fn create(mut store: S, nonce: u64) -> io::Result<Self> {
        store.write_at(0, &header(nonce))?;
        Ok(Self { store, nonce, written: HEADER_LEN, gathered: Vec::new(), index: None })
    }

    /// Reads what an earlier process left in `store`, and cuts off what is torn or claims too much.
    ///
    /// # Errors
    /// If it is no journal of this version, which is then untouched, or can't be read.
    pub fn open(mut store: S) -> Result<(Self, Loaded), JournalError> {
        let nonce = read_header(&store)?;
        let (loaded, written) = load(&store, nonce)?;
        if loaded.cut > 0 {
            store.set_len(written)?;
        }
        Ok((Self { store, nonce, written, gathered: Vec::new(), index: None }, loaded))
    }

    /// What a journal says, for one who only looks.
    ///
    /// # Errors
    /// As [`JournalFile::open`].
    pub fn peek(store: &S) -> Result<Loaded, JournalError> {
        Ok(load(store, read_header(store)?)?.0)
    }

    /// Makes claims findable, by a table in `store`.
    ///
    /// # Errors
    /// If it can't be read or written.
    pub fn build_index(&mut self, store: S) -> Result<(), JournalError> {
        let mut replay = Replay::default();
        scan(&self.store, self.nonce, &mut |position, end, record| {
            replay.take(position, end, &record);
            Ok(())
        })?;
        let mut index = Index::new(store, replay.named)?;
        believed(&self.store, self.nonce, &replay.runs, &mut |position, name| index.insert(name, position))?;
        self.index = Some(index);
        Ok(())
    }

    /// What is claimed of `name`, once an index is built.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn find(&self, name: &Name) -> io::Result<Option<Claim>> {
        let Some(index) = &self.index else { return Ok(None) };
        let Some(position) = index.find(name)? else { return Ok(None) };
        let mut bytes = vec![0; RECORD_MAX];
        let read = self.store.read_at(position, &mut bytes)?;
        let Some(head) = bytes[..read].first_chunk() else { return Ok(None) };
        let len = record::len(*head);
        let found = bytes.get(..len).and_then(|bytes| Record::parse(self.nonce, position, bytes));
        Ok(match found {
            Some(Record::Claim(claim)) if claim.name == *name => Some(claim),
            _ => None,
        })
    }

    /// Appends a record, which is durable after the next [`JournalFile::sync`].
    ///
    /// # Errors
    /// If what has gathered can't be written.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        record.emit(self.nonce, self.len(), &mut self.gathered);
        if self.gathered.len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    /// The journal's length, in bytes: what a mark is to cover, if a sync begins now.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    /// Whether it holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == HEADER_LEN
    }

    fn flush(&mut self) -> io::Result<()> {
        self.store.write_at(self.written, &self.gathered)?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Writes what has gathered and makes all of it durable.
    ///
    /// # Errors
    /// If that can't be promised: the journal is not to be used any more.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.store.sync()
    }
}

/// The records of one run that are believed.
#[derive(Clone, Copy, Debug, Default)]
struct Covered {
    /// Where its own record stands.
    start: u64,
    /// What its last mark covers.
    covers: u64,
}

/// What a journal says, record by record.
#[derive(Debug, Default)]
struct Replay {
    loaded: Loaded,
    runs: Vec<Covered>,
    /// Behind the last record that was synced when it was written.
    end: u64,
    /// Records that bear a name.
    named: u64,
}

impl Replay {
    fn take(&mut self, position: u64, end: u64, record: &Record) {
        match record {
            Record::Claim(_) | Record::Forget(_) => {
                self.named += 1;
                return;
            }
            Record::Run(run) => {
                (self.loaded.run, self.loaded.since) = (run.number, run.since);
                self.loaded.ready = None;
                self.runs.push(Covered { start: position, covers: 0 });
            }
            Record::Mark(covers) => {
                if let Some(run) = self.runs.last_mut() {
                    run.covers = *covers;
                }
            }
            Record::Ready(ready) => self.loaded.ready = Some(*ready),
        }
        self.end = end;
    }
}

/// What a journal says, and how much of it stays.
fn load(store: &impl Store, nonce: u64) -> Result<(Loaded, u64), JournalError> {
    let mut replay = Replay::default();
    let end = scan(store, nonce, &mut |position, end, record| {
        replay.take(position, end, &record);
        Ok(())
    })?;
    let stays = replay.end.max(HEADER_LEN);
    let (files, bytes) = believed(store, nonce, &replay.runs, &mut |_, _| Ok(()))?;
    Ok((Loaded { cut: end.file - stays, files, bytes, ..replay.loaded }, stays))
}

/// Hands on every record that says what is kept, in order; counts whole files and bytes.
fn believed(
    store: &impl Store,
    nonce: u64,
    runs: &[Covered],
    each: &mut dyn FnMut(u64, &Name) -> io::Result<()>,
) -> Result<(u64, u64), JournalError> {
    let (mut files, mut bytes) = (0, 0);
    scan(store, nonce, &mut |position, _, record| {
        let run = runs.iter().rev().find(|run| run.start <= position);
        let covered = run.is_some_and(|run| position < run.covers);
        match record {
            Record::Claim(claim) if covered => {
                files += u64::from(matches!(claim.content, Content::Whole(_)));
                bytes += claim.content.len(claim.size);
                each(position, &claim.name)
            }
            Record::Forget(name) => each(position, &name),
            _ => Ok(()),
        }
    })?;
    Ok((files, bytes))
}

/// How far a scan came.
struct End {
    /// Bytes in the file.
    file: u64,
}

/// Hands on every record, with where it stands and where it ends, up to the first that does not hold.
fn scan(
    store: &impl Store,
    nonce: u64,
    each: &mut dyn FnMut(u64, u64, Record) -> io::Result<()>,
) -> Result<End, JournalError> {
    let mut position = HEADER_LEN;
    let mut bytes = vec![0; GATHERED + RECORD_MAX];
    let mut whole = true;
    loop {
        let read = store.read_at(position, &mut bytes)?;
        let mut at = 0;
        while whole {
            let Some(head) = bytes[at..read].first_chunk() else { break };
            let Some(record) = bytes[at..read].get(..record::len(*head)) else { break };
            let here = position + at as u64;
            let len = record.len();
            match Record::parse(nonce, here, record) {
                Some(record) => each(here, here + len as u64, record)?,
                None => whole = false,
            }
            at += len;
        }
        // Nothing whole is left: the end, or a record that was torn.
        if at == 0 || !whole || read < bytes.len() {
            let mut file = position + read as u64;
            while read == bytes.len() {
                let more = store.read_at(file, &mut bytes)?;
                file += more as u64;
                if more < bytes.len() {
                    break;
                }
            }
            return Ok(End { file });
        }
        position += at as u64;
    }
}

fn header(nonce: u64) -> [u8; HEADER_LEN as usize] {
    let mut header = [0; HEADER_LEN as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&JOURNAL_VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&nonce.to_le_bytes());
    let crc = longhaul_core::integrity::crc32c(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The nonce of a journal.
fn read_header(store: &impl Store) -> Result<u64, JournalError> {
    let mut header = [0; HEADER_LEN as usize];
    let read = store.read_at(0, &mut header)?;
    let (checked, crc) = header.split_last_chunk::<4>().expect("a header is longer");
    let holds = u32::from_le_bytes(*crc) == longhaul_core::integrity::crc32c(checked);
    if read < header.len() || !header.starts_with(MAGIC) || !holds {
        return Err(JournalError::NotAJournal);
    }
    match u16::from_le_bytes([header[8], header[9]]) {
        JOURNAL_VERSION => Ok(u64::from_le_bytes(*header[12..].first_chunk().expect("a header is longer"))),
        theirs => Err(JournalError::Version(theirs)),
    }
}
