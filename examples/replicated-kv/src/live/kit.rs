//! The store under longhaul's kit: what live transfers are promised, it keeps.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longhaul::kit::{Draw, Kind, Kit, SENDER, Seen, Step, Subject};
use longhaul::live::{
    Application as Asked, ApplicationError, Apply, Capture, Contract, Effect, Member, SpilledLog, Transaction,
};
use longhaul_core::digest::SequenceNumber;

use super::{Application, Bounds, Delivery, PrimaryPins, Transfers};
use crate::applied::Applied;
use crate::copy::Copies;
use crate::home::Home;
use crate::record::{Change, Key, Operation, Record, TransactionId, Value};
use crate::stop::Stop;
use crate::store::Pins;

const LOG_BYTES: u64 = 16 << 20;

struct Replicas;

/// A replica without its connections.
struct Replica {
    home: Arc<Home>,
    application: Arc<Application>,
    transfers: Arc<Transfers>,
    delivery: Delivery,
}

fn record(step: &Step<Vec<Change>>) -> Record {
    let changes = || step.operation.clone().unwrap_or_default();
    let id = |transaction: Transaction| TransactionId(SequenceNumber(transaction.number));
    let operation = match step.effect {
        Effect::Prepare(_) => Operation::Prepare(changes()),
        Effect::Commit(transaction) => Operation::Commit(id(transaction)),
        Effect::Rollback(transaction) => Operation::Rollback(id(transaction)),
        _ => Operation::Write(changes()),
    };
    Record { sequence: step.sequence, operation }
}

impl Subject for Replicas {
    type Engine = Replica;
    type Operation = Vec<Change>;

    fn contract(&self) -> Contract {
        Contract::new(Capture::Atomic, Apply::Once).expect("a pair that goes together")
    }

    fn open(&self, directory: &Path) -> Result<Replica, ApplicationError> {
        let home = Arc::new(Home::open(directory)?);
        if home.current().is_err() {
            home.stage()?.complete(SENDER, SequenceNumber::NONE)?;
            home.commit()?;
        }
        // Most of the log is on disk.
        let log = SpilledLog::new(directory, 4096, LOG_BYTES)?;
        let application = Arc::new(Application::new(Arc::clone(&home), log));
        *application.order.lock().unwrap() = SENDER;
        let (ip, pins) = (IpAddr::V4(Ipv4Addr::LOCALHOST), Arc::new(PrimaryPins { primary: None }));
        let port = directory.join("joiners");
        let bounds = Bounds { log_bytes: LOG_BYTES, lease: Duration::from_secs(1), yields: true };
        let transfers = Transfers::new(Arc::clone(&application), pins, ip, false, bounds, port);
        let transfers = Arc::new(transfers);
        let delivery = Delivery {
            home: Arc::clone(&home),
            transfers: Arc::clone(&transfers),
            copies: Arc::new(Copies::new(Arc::clone(&home), None, ip, false)),
            application: Arc::clone(&application),
            pins: Arc::new(Mutex::new(Pins::new(Instant::now()))),
            keep_bytes: LOG_BYTES,
            applied: Applied::default(),
            stop: Stop::default(),
            prepared: Mutex::default(),
        };
        Ok(Replica { home, application, transfers, delivery })
    }

    fn application(&self, engine: &Arc<Replica>) -> Arc<dyn Asked> {
        Arc::clone(&engine.application) as _
    }

    /// Its tables are made once, for ever: it has no structure that changes.
    fn draw(&self, kind: Kind, draw: &mut Draw) -> Option<Vec<Change>> {
        let mut change = || {
            let key = Key::new(format!("key/{}", draw.below(50)).as_bytes()).expect("a key");
            let value = vec![b'a' + draw.below(26) as u8; draw.below(3000) as usize];
            let value = (!draw.one_in(5)).then(|| Value::new(&value).expect("a line"));
            Change { key, value }
        };
        (kind != Kind::Structure).then(|| (0..3).map(|_| change()).collect())
    }

    fn deliver(&self, engine: &Arc<Replica>, steps: &[Step<Vec<Change>>]) -> Result<(), ApplicationError> {
        let (number, store) = engine.home.numbered()?;
        let records: Vec<_> = steps.iter().map(record).collect();
        let completion = |record| engine.delivery.completion(number, &store, SENDER, record);
        let completions = records.iter().map(completion).collect::<Result<Vec<_>, _>>()?;
        Ok(engine.delivery.carry_out(&store, SENDER, &records, completions)?)
    }

    fn state(&self, engine: &Arc<Replica>) -> Result<Seen, ApplicationError> {
        let snapshot = engine.home.current()?.snapshot()?;
        Ok(Seen { delivered: snapshot.applied(), root: snapshot.root()?.as_bytes().to_vec() })
    }

    fn offer(
        &self,
        engine: &Arc<Replica>,
        member: &Arc<Member>,
        step: &Step<Vec<Change>>,
    ) -> Result<(), ApplicationError> {
        *engine.transfers.lock() = Some(Arc::clone(member));
        let delivered = engine.delivery.deliver(vec![record(step)]);
        *engine.transfers.lock() = None;
        Ok(delivered?)
    }
}

#[test]
fn the_store_keeps_what_live_transfers_are_promised() {
    Kit::new(Replicas).messages(32).rounds(1).run().expect_kept();
}
