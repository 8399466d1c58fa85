//! What a write costs at a member of a live transfer's group, by the clock: from its request to its end.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longhaul::live::{
    ApplicationError, Apply, Batch, Capture, Config, Contract, Delivered, Effect, Entry, Handle, Latch, Log,
    LogPoint, LogRecord, Member, MemoryLog, Message, PinError, Pins, Prepare, Properties, Provide,
    SequenceNumber, Snapshot, SnapshotId, Stage, Verdict,
};
use longhaul::{MemberId, Sink};

const ORDER: MemberId = MemberId([0xff; 16]);
const RECORD: [u8; 1032] = [7; 1032];
/// So many records are kept at most.
const KEPT: u64 = 4096;
const PATIENCE: Duration = Duration::from_mins(1);

/// An engine without a state.
#[derive(Default)]
struct Engine(MemoryLog);

impl Provide for Engine {
    fn capture(&self) -> Result<Arc<dyn Snapshot>, ApplicationError> {
        Err("there is nothing".into())
    }

    fn pending(&self, _batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        Ok(())
    }
}

impl Log for Engine {
    fn start(&self, from: LogPoint) -> Result<(), ApplicationError> {
        self.0.start(from)
    }

    fn read(&self, from: LogPoint, batch: &mut Batch<'_>) -> Result<(), ApplicationError> {
        self.0.read(from, batch)
    }

    fn trim(&self, before: LogPoint) {
        self.0.trim(before);
    }

    fn stop(&self) {
        self.0.stop();
    }
}

impl Stage for Engine {
    fn stage(&self, _snapshot: SnapshotId, _keep: bool) -> Result<Box<dyn Sink>, ApplicationError> {
        Err("it never joins".into())
    }

    fn apply(&self, _records: &[LogRecord<'_>]) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn prepare(&self, _prepares: &[Prepare<'_>]) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn forget_prepares(&self) -> Result<(), ApplicationError> {
        Ok(())
    }

    fn discard(&self) {}

    fn commit(&self, _digest: &Delivered) -> Result<(), ApplicationError> {
        Ok(())
    }
}

impl Latch for Engine {
    fn reoffer(&self) {}
}

impl Pins for Engine {
    fn pin(&self, _joiner: MemberId, _lease: Duration) -> Result<Delivered, PinError> {
        Ok(Delivered::new())
    }

    fn unpin(&self, _joiner: MemberId) {}
}

fn member(engine: &Arc<Engine>) -> Member {
    let contract = Contract::new(Capture::Atomic, Apply::Once).expect("nothing is applied twice");
    let config =
        Config::new(MemberId([1; 16]), Properties::TOTAL_ORDER.and(Properties::SEND_AGAIN), contract);
    let mut digest = Delivered::new();
    digest.insert(Entry::fresh(ORDER)).expect("it has room");
    let builder = Member::builder(config, Arc::clone(engine) as _, Arc::clone(engine) as _);
    builder.listen("127.0.0.1:0").found(&digest, []).expect("a port is free")
}

/// Message `number`, which is next.
fn write(member: &Member, engine: &Engine, number: u64) {
    let request = member.request(PATIENCE).expect("it is operational");
    let mut turn = member.turn();
    let (sequence, len) = (SequenceNumber(number), RECORD.len() as u32);
    let message = Message { sender: ORDER, sequence, len, handle: Handle(number) };
    let verdict = turn.handle_message(&message, Effect::Write, RECORD.len()).expect("it fits");
    assert_eq!(black_box(verdict), Verdict::Deliver);
    engine.0.append(ORDER, sequence, Effect::Write, &RECORD);
    drop(turn);
    drop(request);
}

fn writes(criterion: &mut Criterion) {
    let engine = Arc::new(Engine::default());
    let member = member(&engine);
    let mut number = 0;
    let mut group = criterion.benchmark_group("live");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a write", |bencher| {
        bencher.iter(|| {
            number += 1;
            write(&member, &engine, number);
        });
    });
    engine.0.start(LogPoint { records: number, bytes: 0 }).expect("memory is there");
    group.bench_function("a write of 1 KiB, logged", |bencher| {
        bencher.iter(|| {
            number += 1;
            write(&member, &engine, number);
            if number.is_multiple_of(KEPT) {
                engine.0.trim(LogPoint { records: number, bytes: 0 });
            }
        });
    });
    group.finish();
}

criterion_group!(benches, writes);
criterion_main!(benches);
