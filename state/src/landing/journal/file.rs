//! The journal as a file: appended to by one process, read by the next.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::index::{Index, hash};
use super::record::{self, Claim, Content, Record};
use super::{Claimed, HEADER_LEN, JOURNAL_VERSION, JournalError, Loaded};
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
        let (loaded, written, _) = load(&store, nonce)?;
        if loaded.cut > 0 {
            store.set_len(written)?;
        }
        Ok((Self { store, nonce, written, gathered: Vec::new(), index: None }, loaded))
    }

    /// What a journal says, for one who only looks; it takes some memory for every name.
    ///
    /// # Errors
    /// As [`JournalFile::open`].
    pub fn peek(store: &S) -> Result<(Loaded, Claimed), JournalError> {
        let nonce = read_header(store)?;
        let (loaded, _, replay) = load(store, nonce)?;
        let mut last = HashMap::new();
        believed(store, nonce, &replay.runs, &mut |position, record| {
            last.insert(hash(record_name(record)), position);
            Ok(())
        })?;
        let mut claimed = Claimed::default();
        believed(store, nonce, &replay.runs, &mut |position, record| {
            if let Record::Claim(claim) = record
                && last.get(&hash(&claim.name)) == Some(&position)
            {
                claimed.add(claim);
            }
            Ok(())
        })?;
        Ok((loaded, claimed))
    }

    /// Makes claims findable, by a table in `store`, and counts them.
    ///
    /// # Errors
    /// If it can't be read or written.
    pub fn build_index(&mut self, store: S) -> Result<Claimed, JournalError> {
        let (_, _, replay) = load(&self.store, self.nonce)?;
        let mut index = Index::new(store, replay.named)?;
        believed(&self.store, self.nonce, &replay.runs, &mut |position, record| {
            index.insert(record_name(record), position)
        })?;
        let mut claimed = Claimed::default();
        believed(&self.store, self.nonce, &replay.runs, &mut |position, record| {
            if let Record::Claim(claim) = record
                && index.find(&claim.name)? == Some(position)
            {
                claimed.add(claim);
            }
            Ok(())
        })?;
        self.index = Some(index);
        Ok(claimed)
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

    /// The next whole file that run `run` claims and no later record speaks of, from `position` on, and where it
    /// ends; once an index is built.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn next_whole(&self, run: u32, mut position: u64) -> io::Result<Option<(Claim, u64)>> {
        let mut bytes = vec![0; RECORD_MAX];
        loop {
            let read = self.store.read_at(position, &mut bytes)?;
            let Some(head) = bytes[..read].first_chunk() else { return Ok(None) };
            let Some(record) = bytes[..read].get(..record::len(*head)) else { return Ok(None) };
            let end = position + record.len() as u64;
            let Some(record) = Record::parse(self.nonce, position, record) else { return Ok(None) };
            if let Record::Claim(claim) = record
                && claim.run == run
                && matches!(claim.content, Content::Whole(_))
                && self.index.as_ref().map_or(Ok(None), |index| index.find(&claim.name))? == Some(position)
            {
                return Ok(Some((claim, end)));
            }
            position = end;
        }
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
            Record::Claim(_) => {
                self.named += 1;
                return;
            }
            Record::Forget(_) => self.named += 1,
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

/// What a journal says, how much of it stays, and which of its claims count.
fn load(store: &impl Store, nonce: u64) -> Result<(Loaded, u64, Replay), JournalError> {
    let mut replay = Replay::default();
    let len = scan(store, nonce, &mut |position, end, record| {
        replay.take(position, end, &record);
        Ok(())
    })?;
    let stays = replay.end.max(HEADER_LEN);
    Ok((Loaded { cut: len - stays, ..replay.loaded.clone() }, stays, replay))
}

/// Hands on every record that says what is kept, in order: claims that count, and what is forgotten.
fn believed(
    store: &impl Store,
    nonce: u64,
    runs: &[Covered],
    each: &mut dyn FnMut(u64, &Record) -> io::Result<()>,
) -> Result<(), JournalError> {
    scan(store, nonce, &mut |position, _, record| {
        let run = runs.iter().rev().find(|run| run.start <= position);
        let covered = run.is_some_and(|run| position < run.covers);
        match record {
            Record::Claim(_) if covered => each(position, &record),
            Record::Forget(_) => each(position, &record),
            _ => Ok(()),
        }
    })?;
    Ok(())
}

/// The name of a record that says what is kept.
fn record_name(record: &Record) -> &Name {
    match record {
        Record::Claim(claim) => &claim.name,
        Record::Forget(name) => name,
        _ => unreachable!("other records say nothing of an item"),
    }
}

/// Hands on every record, with where it stands and where it ends, up to the first that does not hold; gives the
/// length of the store, in bytes.
fn scan(
    store: &impl Store,
    nonce: u64,
    each: &mut dyn FnMut(u64, u64, Record) -> io::Result<()>,
) -> Result<u64, JournalError> {
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
            return Ok(file);
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

#[cfg(test)]
mod tests {
    use longhaul_core::integrity::Checksum;
    use longhaul_core::item::Version;

    use super::super::record::Run;
    use super::*;

    impl Store for Vec<u8> {
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
            let there = self.get(offset as usize..).unwrap_or_default();
            let len = there.len().min(bytes.len());
            bytes[..len].copy_from_slice(&there[..len]);
            Ok(len)
        }

        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let end = offset as usize + bytes.len();
            self.resize(self.len().max(end), 0);
            self[offset as usize..end].copy_from_slice(bytes);
            Ok(())
        }

        fn set_len(&mut self, len: u64) -> io::Result<()> {
            self.resize(len as usize, 0);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const NONCE: u64 = 7;

    fn run(number: u32) -> Record {
        Record::Run(Run { number, since: 1 })
    }

    fn name(n: u32) -> Name {
        Name::new(format!("dir/{n}").into_bytes()).unwrap()
    }

    fn claim(n: u32) -> Record {
        let content = Content::Whole(Checksum::Crc32c(n));
        let version = Version::new(&[1]).unwrap();
        Record::Claim(Claim { name: name(n), size: 10, version, inode: n.into(), run: 1, content })
    }

    /// The journal of these records, and where each ends.
    fn journal(records: &[Record]) -> (Vec<u8>, Vec<u64>) {
        let mut journal = JournalFile::create(Vec::new(), NONCE).unwrap();
        let ends = records.iter().map(|record| {
            journal.append(record).unwrap();
            journal.len()
        });
        let ends = ends.collect();
        journal.sync().unwrap();
        (journal.store, ends)
    }

    fn marked(records: &mut Vec<Record>) {
        let (store, _) = journal(records);
        records.push(Record::Mark(store.len() as u64));
    }

    /// What a later process finds claimed among the first `names`.
    fn found(store: Vec<u8>, names: u32) -> Result<Vec<u32>, JournalError> {
        let (mut journal, _) = JournalFile::open(store)?;
        let claimed = journal.build_index(Vec::new())?;
        assert_eq!(JournalFile::peek(&journal.store)?.1, claimed);
        let found: Vec<u32> = (0..names).filter(|&n| journal.find(&name(n)).unwrap().is_some()).collect();
        assert_eq!(found.len() as u64, claimed.files);
        Ok(found)
    }

    #[test]
    fn claims_count_from_the_mark_that_covers_them_on() {
        let mut records = vec![run(1), claim(0)];
        assert_eq!(found(journal(&records).0, 9).unwrap(), [0; 0], "no mark");
        marked(&mut records);
        records.push(claim(1));
        assert_eq!(found(journal(&records).0, 9).unwrap(), [0], "behind the mark");
        let covers = journal(&records).0.len() as u64;
        records.extend([claim(2), Record::Mark(covers)]);
        assert_eq!(found(journal(&records).0, 9).unwrap(), [0, 1], "appended while the sync was under way");
    }

    #[test]
    fn what_one_run_did_not_mark_no_later_run_makes_true() {
        let mut records = vec![run(1), claim(0)];
        marked(&mut records);
        let covers = journal(&records).0.len() as u64;
        records.extend([claim(1), Record::Mark(covers), run(2), claim(2)]);
        marked(&mut records);
        assert_eq!(found(journal(&records).0, 9).unwrap(), [0, 2]);
    }

    #[test]
    fn the_last_word_about_a_name_counts() {
        let mut records = vec![run(1), claim(0), claim(1), Record::Forget(name(0))];
        marked(&mut records);
        let (mut journal, _) = JournalFile::open(journal(&records).0).unwrap();
        let claimed = journal.build_index(Vec::new()).unwrap();
        assert_eq!(claimed, Claimed { files: 1, bytes: 10 });
        assert_eq!(journal.find(&name(0)).unwrap(), None);
        assert!(journal.find(&name(1)).unwrap().is_some());
    }

    #[test]
    fn what_is_forgotten_behind_the_last_mark_stays_forgotten() {
        let mut records = vec![run(1), claim(0), claim(1)];
        marked(&mut records);
        records.extend([claim(2), Record::Forget(name(0)), claim(3)]);
        assert_eq!(found(journal(&records).0, 9).unwrap(), [1]);
    }

    // Catalogue: F32, B66
    #[test]
    fn a_journal_that_is_cut_anywhere_claims_what_its_last_whole_mark_covers() {
        let mut records = vec![run(1), claim(0), claim(1)];
        marked(&mut records);
        records.extend([claim(2), claim(3)]);
        marked(&mut records);
        let (store, ends) = journal(&records);
        for cut in 0..=store.len() {
            let expected: &[u32] = match cut as u64 {
                cut if cut >= ends[6] => &[0, 1, 2, 3],
                cut if cut >= ends[3] => &[0, 1],
                _ => &[],
            };
            for tail in [&[][..], &[0; 100], &[0xff; 100]] {
                let torn = [&store[..cut], tail].concat();
                match found(torn, 9) {
                    Ok(found) => assert_eq!(found, expected, "cut at {cut}"),
                    Err(error) => {
                        assert!(matches!(error, JournalError::NotAJournal) && cut < 24, "{cut}: {error}");
                    }
                }
            }
        }
    }

    // Catalogue: F32, B66
    #[test]
    fn a_journal_with_any_bit_flipped_claims_nothing_that_was_not_claimed() {
        let mut records = vec![run(1), claim(0), claim(1)];
        marked(&mut records);
        records.push(claim(2));
        marked(&mut records);
        let (store, ends) = journal(&records);
        for bit in 0..store.len() * 8 {
            let mut flipped = store.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match found(flipped, 9) {
                Ok(found) => {
                    let expected: &[u32] = if (bit / 8) as u64 >= ends[3] { &[0, 1] } else { &[] };
                    assert_eq!(found, expected, "bit {bit}");
                }
                Err(error) => assert!(bit / 8 < 24, "bit {bit}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_torn_is_cut_off_and_the_journal_goes_on() {
        let mut records = vec![run(1), claim(0)];
        marked(&mut records);
        let (mut store, _) = journal(&records);
        let whole = store.len();
        store.extend([9; 5]);
        let (mut journal, loaded) = JournalFile::open(store).unwrap();
        assert_eq!((loaded.cut, loaded.run), (5, 1));
        assert_eq!(journal.len(), whole as u64);
        journal.append(&run(2)).unwrap();
        journal.append(&claim(1)).unwrap();
        journal.append(&Record::Mark(journal.len())).unwrap();
        journal.sync().unwrap();
        assert_eq!(found(journal.store, 9).unwrap(), [0, 1]);
    }

    // Catalogue: B66
    #[test]
    fn records_of_another_journal_are_none() {
        let mut records = vec![run(1), claim(0)];
        marked(&mut records);
        let (store, _) = journal(&records);
        let other = JournalFile::create(Vec::new(), NONCE + 1).unwrap().store;
        assert_eq!(found([&other[..], &store[24..]].concat(), 9).unwrap(), [0; 0]);
    }

    // Catalogue: F97, B66
    #[test]
    fn a_later_version_is_refused() {
        let (mut store, _) = journal(&[run(1)]);
        store[8] = 2;
        let crc = longhaul_core::integrity::crc32c(&store[..20]);
        store[20..24].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(JournalFile::open(store), Err(JournalError::Version(2))));
    }

    #[test]
    fn a_journal_longer_than_what_is_read_at_once_is_read_whole() {
        let mut records = vec![run(1)];
        records.extend((0..5000).map(claim));
        marked(&mut records);
        assert_eq!(found(journal(&records).0, 5000).unwrap(), (0..5000).collect::<Vec<_>>());
    }
}
