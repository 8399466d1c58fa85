//! What fails leaves the old state as it was, says why, and leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use longhaul::ErrorKind;
use longhaul::live::{Config, Event, Failure, Fetched, Phase, Refusal};

use crate::bus::{Bus, ORDER};
use crate::gate::Gate;
use crate::host::{Host, PATIENCE, config};
use crate::joining::Group;
use crate::map::{Gates, Store};

fn quick(n: u8) -> Config {
    let (lease, stall_timeout) = (Duration::from_millis(250), Duration::from_secs(1));
    Config { lease, stall_timeout, tries: 2, ..config(n) }
}

/// A joiner with an old state that it does not serve.
fn with_old_state(bus: &Arc<Bus>, config: Config) -> Host {
    let joiner = Host::join(bus, config);
    joiner.map.store.lock().unwrap().map.insert(7, 77);
    joiner
}

fn assert_old_state(joiner: &Host) {
    let Store { map, prepared, applied, digest } = joiner.map.lock().clone();
    assert_eq!((map.into_iter().collect(), applied, prepared.len()), (vec![(7, 77)], 0, 0));
    assert!(digest.is_empty() && !joiner.member().is_operational());
}

/// The provider dies while the joiner waits at a gate.
fn provider_dies_at(gate: impl Fn(&Gates) -> &Gate, of_provider: bool) {
    let mut group = Group::with(1, quick);
    group.written(20);
    let joiner = with_old_state(&group.bus, quick(9));
    let target = group.hosts[0].address();
    let map = Arc::clone(if of_provider { &group.hosts[0].map } else { &joiner.map });
    gate(&map.gates).close();
    let transfer = joiner.member().fetch_state(&[target], b"", quick(9).stall_timeout).unwrap();
    gate(&map.gates).is_met();
    if of_provider {
        gate(&map.gates).open();
    }
    drop(group.hosts.pop());
    gate(&map.gates).open();
    let error = transfer.wait().unwrap_err();
    let ended = error.live().expect("it is a live transfer's");
    assert!(matches!(ended.failure, Failure::Lost | Failure::Stalled), "{error}");
    assert_old_state(&joiner);
    assert!(!group.bus.has_pins());
}
