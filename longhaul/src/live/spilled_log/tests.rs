use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::block::Place;
use super::*;

const SENDER: MemberId = MemberId([1; 16]);
const MEMORY: usize = 64 << 10;
const DISK: u64 = 4 << 20;

/// A disk in memory, that can be made to fail.
#[derive(Debug, Default)]
struct Faulty {
    /// Bytes that it has room for.
    room: AtomicU64,
    /// A write waits for as long as this is set.
    stuck: Arc<Mutex<()>>,
    /// What is written is damaged.
    tears: AtomicBool,
}

#[derive(Debug)]
struct Memory {
    disk: Arc<Faulty>,
    bytes: Mutex<Vec<u8>>,
}

impl Disk for Arc<Faulty> {
    fn file(&self) -> io::Result<Arc<dyn Place>> {
        Ok(Arc::new(Memory { disk: Arc::clone(self), bytes: Mutex::default() }))
    }
}

impl Place for Memory {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        drop(self.disk.stuck.lock().unwrap());
        let took = |room: u64| room.checked_sub(bytes.len() as u64);
        let room = self.disk.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, took);
        room.map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        let mut all = self.bytes.lock().unwrap();
        assert_eq!(all.len() as u64, offset, "one block behind the other");
        all.extend_from_slice(bytes);
        if self.disk.tears.load(Ordering::SeqCst) {
            *all.last_mut().unwrap() ^= 1;
        }
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let all = self.bytes.lock().unwrap();
        bytes.copy_from_slice(&all[offset as usize..offset as usize + bytes.len()]);
        Ok(())
    }
}

fn faulty(room: u64) -> (Arc<Faulty>, SpilledLog) {
    faulty_within(room, Duration::from_mins(1))
}

fn faulty_within(room: u64, patience: Duration) -> (Arc<Faulty>, SpilledLog) {
    let disk = Arc::new(Faulty { room: AtomicU64::new(room), ..Faulty::default() });
    let log = SpilledLog::on(Box::new(Arc::clone(&disk)), MEMORY, DISK, patience).unwrap();
    log.start(point(0)).unwrap();
    (disk, log)
}

const fn point(records: u64) -> LogPoint {
    LogPoint { records, bytes: 0 }
}

/// Records of a kibibyte, from number `from` on.
fn append(log: &SpilledLog, from: u64, records: u64) {
    for n in from..from + records {
        log.append(SENDER, SequenceNumber(n), Effect::Write, &[n as u8; 1024]);
    }
}

/// Reads on to the end, in batches of so many bytes: the numbers, and that each record is what was appended.
fn read_all(log: &SpilledLog, from: u64, max_bytes: usize) -> Result<Vec<u64>, ApplicationError> {
    let mut numbers = Vec::new();
    let mut at = point(from);
    loop {
        let mut out = Vec::new();
        let mut batch = Batch::new(&mut out, at, max_bytes);
        log.read(at, &mut batch)?;
        if batch.end() == at {
            return Ok(numbers);
        }
        at = batch.end();
        for record in records(&out).map(Option::unwrap) {
            let number = record.record.number;
            assert_eq!((record.record.sequence.0, record.bytes[0]), (number, number as u8));
            numbers.push(number);
        }
    }
}

fn error(log: &SpilledLog) -> SpillError {
    let error = read_all(log, 0, 1 << 20).expect_err("the log is given up");
    error.downcast_ref::<SpillError>().expect("it has a type").clone()
}

/// Waits until nothing is left to be spilled.
fn settle(log: &SpilledLog) {
    let mut state = log.inner.lock();
    while state.oldest(MEMORY / 2).is_some() {
        state = log.inner.emptied.wait(state).unwrap();
    }
}

#[test]
fn what_does_not_fit_in_memory_is_read_from_disk_in_one_order_without_a_hole() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Box::new(Unnamed(directory.path().to_owned()));
    let log = SpilledLog::on(disk, MEMORY, DISK, Duration::from_mins(1)).unwrap();
    log.append(SENDER, SequenceNumber(1), Effect::Write, b"nobody follows yet");
    log.start(point(0)).unwrap();
    append(&log, 1, 2000);
    assert!(log.memory_bytes() <= MEMORY + 2048, "{} bytes in memory", log.memory_bytes());
    settle(&log);
    assert!(log.memory_bytes() <= MEMORY / 2 && log.disk_bytes() > 1 << 20);
    for (from, max_bytes) in [(0, 1 << 20), (0, 3000), (777, 100_000), (1999, 1), (2000, 1 << 20)] {
        assert_eq!(read_all(&log, from, max_bytes).unwrap(), (from + 1..=2000).collect::<Vec<_>>());
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "its files have no names");
}

#[test]
fn what_nobody_needs_makes_room_on_disk() {
    let (disk, log) = faulty(u64::MAX);
    // Four times as much as the disk may hold goes through it.
    for round in 0..16 {
        append(&log, 1 + 1000 * round, 1000);
        assert_eq!(read_all(&log, 1000 * round, 1 << 20).unwrap().len(), 1000);
        log.trim(point(1000 * (round + 1)));
        assert_eq!(log.len() as u64, 0);
    }
    assert!(u64::MAX - disk.room.load(Ordering::SeqCst) > 2 * DISK);
    let gone = read_all(&log, 10, 1 << 20).expect_err("it is gone");
    assert!(gone.downcast_ref::<SpillError>().is_none(), "that is the reader's fault: {gone}");
}

// Catalogue: F34
#[test]
fn a_log_that_reaches_its_bound_on_disk_is_given_up_and_holds_nothing() {
    let (_, log) = faulty(u64::MAX);
    append(&log, 1, 2 * DISK / 1024);
    assert!(matches!(error(&log), SpillError::Full { disk_bytes: DISK }));
    assert_eq!((log.is_kept(), log.memory_bytes(), log.disk_bytes()), (false, 0, 0));
    append(&log, 1, 10);
    log.start(point(7)).unwrap();
    append(&log, 8, 1);
    assert_eq!(read_all(&log, 7, 1).unwrap(), [8], "the next one is kept");
}

#[test]
fn a_full_disk_is_a_typed_error() {
    let (_, log) = faulty(1 << 20);
    append(&log, 1, 3000);
    match error(&log) {
        SpillError::Io(error) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other}"),
    }
}

#[test]
fn a_damaged_block_is_never_read() {
    let (disk, log) = faulty(u64::MAX);
    append(&log, 1, 40);
    settle(&log);
    let whole = log.len() as u64 - log.inner.lock().kept.as_ref().unwrap().records.len() as u64;
    assert!(whole > 0, "something is on disk");
    disk.tears.store(true, Ordering::SeqCst);
    append(&log, 41, 40);
    settle(&log);
    match error(&log) {
        SpillError::Torn { record } => assert!(record > whole && record <= 80, "{record}"),
        other => panic!("{other}"),
    }
}

#[test]
fn who_appends_does_not_wait_for_a_disk_that_is_stuck() {
    let (disk, log) = faulty_within(u64::MAX, Duration::from_millis(10));
    let stuck = disk.stuck.lock().unwrap();
    append(&log, 1, 1000);
    assert!(matches!(error(&log), SpillError::Stalled));
    drop(stuck);
}

#[test]
fn what_a_log_that_has_ended_leaves_is_not_the_next_ones() {
    let (disk, log) = faulty(u64::MAX);
    let stuck = disk.stuck.lock().unwrap();
    append(&log, 1, 50);
    log.stop();
    log.start(point(100)).unwrap();
    drop(stuck);
    append(&log, 101, 100);
    settle(&log);
    assert_eq!(read_all(&log, 100, 1 << 20).unwrap(), (101..=200).collect::<Vec<_>>());
    assert_eq!(log.len(), 100);
}
