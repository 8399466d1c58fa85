//! What must hold, whatever happens.
//!
//! - What a joiner commits is what its digest says: each message up to there once, none left out, in its sender's
//!   order (under total order: in the order of all).
//! - It commits and serves only an epoch that its provider has recorded as committed, at the provider's own digest.
//! - An epoch has one outcome. A log has no hole; nothing is needed that is gone; nothing is committed that was
//!   never prepared.
//! - Once faults and writers have stopped, within bounded time everybody serves the same state, with every
//!   message that was ever sent, and no latch, capture, log, pin or held message is left.

use longhaul_core::id::SnapshotId;
use longhaul_core::transfer::live::Event;
use longhaul_core::transfer::{Decision, digest_sum};

use super::machines::Giver;
use super::process::{JoinerMachine, Process};
use super::store::{Delivered, Prepared, State, Store};
use super::world::Shared;

/// What a member that has delivered this holds: each stream replayed from its start.
fn reference(digest: &Delivered, world: &Shared) -> Store {
    let mut store = Store::new(world.rules(), State::default(), Prepared::new(), Delivered::new());
    for stream in &world.streams {
        let delivered = digest.entry(stream.sender).map_or(0, |entry| entry.delivered().0);
        for sequence in 1..=delivered {
            store.deliver(stream.sender, sequence, stream.content(sequence));
        }
    }
    store
}

pub(super) fn assert_holds(store: &Store, words: &str, world: &Shared) {
    let reference = reference(&store.digest, world);
    assert!(
        store.prepared == reference.prepared,
        "{words}: {:?} prepared, not {:?}",
        store.prepared,
        reference.prepared
    );
    assert!(
        store.state == reference.state,
        "{words}: the state is not what its digest says: {:?}, not {:?}",
        store.state,
        reference.state
    );
}

/// A provider says something.
pub(super) fn told(process: &Process, event: Event, world: &mut Shared) {
    world.trace.say(world.agenda.now(), || format!("{}: {event:?}", process.host));
    match event {
        Event::Decided { tag, decision, .. } => {
            let delivered = process.provider.as_ref().expect("it says so").delivered();
            let before = world.decisions.insert((tag, process.member), (decision, digest_sum(delivered)));
            assert_eq!(before, None, "{tag} has two outcomes");
            match decision {
                Decision::Commit => world.outcome.committed += 1,
                Decision::Abort => world.outcome.aborted += 1,
            }
        }
        Event::CannotConverge { .. } => world.outcome.stuck += 1,
        Event::Released { .. } => world.outcome.released += 1,
        Event::Admitted { .. } | Event::Following { .. } | Event::LatchOpened { .. } => {}
    }
}

fn assert_committed(joiner: &JoinerMachine, world: &Shared) {
    let decided = world.decisions.get(&(joiner.tag(), joiner.provider()));
    let ours = (Decision::Commit, digest_sum(joiner.digest()));
    assert_eq!(decided, Some(&ours), "{} goes ahead without its provider's word", joiner.tag());
}

/// A joiner swaps its hidden copy in.
pub(super) fn committed(joiner: &JoinerMachine, snapshot: SnapshotId, store: &Store, world: &mut Shared) {
    world.trace.say(world.agenda.now(), || format!("committed: {}, {snapshot}", joiner.tag()));
    assert_committed(joiner, world);
    assert_holds(store, "committed", world);
}

/// A member serves from now on.
pub(super) fn serves(process: &Process, world: &mut Shared) {
    world.trace.say(world.agenda.now(), || format!("{} serves", process.host));
    if let Some(joiner) = &process.joiner {
        assert_committed(joiner, world);
    }
    assert_holds(process.store.as_ref().expect("it has committed"), "serving", world);
}

/// Whether nothing is left to happen at a member.
pub(super) fn is_settled(process: &Process, world: &Shared) -> bool {
    let idle = process.provider.as_ref().is_some_and(Giver::is_idle);
    let Some(store) = process.store.as_ref().filter(|_| idle && process.is_settled()) else { return false };
    let all = world
        .streams
        .iter()
        .all(|stream| stream.sent.is_empty() || store.digest.contains(stream.sender, stream.last()));
    let kept = store.log.is_some() || store.requests.is_some();
    all && !kept && process.snapshot.is_none() && process.captures.is_empty()
}

/// It is over.
pub(super) fn judge(processes: &[Process], world: &Shared) {
    for process in processes {
        let store = process.store.as_ref().expect("everybody serves");
        assert_holds(store, "at the end", world);
        let delivered = process.provider.as_ref().expect("everybody serves").delivered();
        assert_eq!(digest_sum(&store.digest), digest_sum(delivered), "engine and machine differ");
    }
    for stream in &world.streams {
        let late = stream.pins.iter().find(|pin| pin.until > world.agenda.now());
        assert!(late.is_none(), "a pin is left: {late:?}");
    }
}
