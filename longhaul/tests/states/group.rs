//! Members that write, until they are told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use longhaul::states::{Config, Fetched, Joined, Peer, Protocol};

use crate::bus::Bus;
use crate::host::{Host, PATIENCE, config};

pub(crate) struct Group {
    pub(crate) protocol: Protocol,
    pub(crate) bus: Arc<Bus>,
    pub(crate) hosts: Vec<Host>,
    is_writing: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Group {
    /// So many members, which write, on the weakest channel that the protocol bears.
    pub(crate) fn start(protocol: Protocol, members: u8) -> Self {
        let mut group = Self::silent(protocol, members);
        for n in 0..group.hosts.len() {
            group.write_at(n);
        }
        group
    }

    /// The same, and nobody writes.
    pub(crate) fn silent(protocol: Protocol, members: u8) -> Self {
        Self::with(protocol, members, |config| config)
    }

    pub(crate) fn with(protocol: Protocol, members: u8, change: impl Fn(Config) -> Config) -> Self {
        let bus = Bus::new(matches!(protocol, Protocol::Copy | Protocol::Prefetch));
        Self {
            protocol,
            hosts: (1..=members).map(|n| Host::found(&bus, change(config(protocol, n)))).collect(),
            bus,
            is_writing: Arc::new(AtomicBool::new(true)),
            written: Arc::default(),
        }
    }

    pub(crate) fn write_at(&mut self, host: usize) {
        self.hosts[host].write(&self.is_writing, &self.written);
    }

    /// A member without a state.
    pub(crate) fn joiner(&self, id: u8) -> Host {
        Host::join(&self.bus, config(self.protocol, id))
    }

    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.hosts.iter().map(Host::peer).collect()
    }

    pub(crate) fn count(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Waits until so much more was written.
    pub(crate) fn written(&self, more: u64) {
        let until = self.count() + more;
        crate::host::wait("writers", || self.count() >= until);
    }

    /// Writers stop, and everybody comes to the same state.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        self.is_writing.store(false, Ordering::SeqCst);
        for host in &mut self.hosts {
            host.finish_writing();
        }
        let last = self.bus.last();
        let stores: Vec<_> = self.hosts.iter().map(|host| host.delivered(&last)).collect();
        for (store, host) in stores.iter().zip(&self.hosts) {
            assert_eq!((&store.map, &store.prepared), (&stores[0].map, &stores[0].prepared));
            assert_eq!(store.applied, stores[0].applied, "each record once");
            host.is_idle();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.is_writing.store(false, Ordering::SeqCst);
        self.bus.close();
    }
}

/// What a joiner has, from these.
#[track_caller]
pub(crate) fn fetch(joiner: &Host, peers: &[Peer]) -> Joined {
    let fetched = joiner.member().fetch_state(peers, b"", PATIENCE).unwrap().wait();
    let Fetched::State(state) = fetched.unwrap() else { panic!("there is a state") };
    assert!(joiner.member().is_operational());
    state
}
