//! The transports that there are: a driver and a door for all, an engine for each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::integrity::Integrity;
use longhaul_state::pool::Pool;
use longhaul_state::transfer::{DataPath, Options};
use longhaul_state::{Sink, Source};
use longhaul_transport::{Caller, Engine, Listener};
use longhaul_transport_std::Blocking;

use super::{Call, End, Listen, Party, Subject};

/// A transport, as its engine makes it.
#[derive(Clone, Copy)]
pub struct ByEngine {
    /// Its name in failures.
    pub name: &'static str,
    /// The engine for the sessions that take their buffers from a pool.
    pub engine: fn(&Pool) -> Arc<dyn Engine>,
    /// How both sides move bytes between files and memory.
    pub data_path: DataPath,
}

impl ByEngine {
    fn options(&self, party: &Party) -> Options {
        let integrity = self.integrity(party.options.integrity);
        Options { data_path: self.data_path, integrity, ..party.options.clone() }
    }
}

impl Subject for ByEngine {
    fn name(&self) -> &'static str {
        self.name
    }

    fn integrity(&self, wanted: Integrity) -> Integrity {
        if self.data_path.is_spliced() { Integrity::None } else { wanted }
    }

    fn listen(&self) -> Box<dyn Listen> {
        let listener = Listener::bind("127.0.0.1:0", Arc::new(Blocking)).unwrap();
        Box::new(Listening { listener, by: *self })
    }

    fn join(&self, address: SocketAddr, sink: Box<dyn Sink>, party: &Party) -> End {
        let engine = (self.engine)(&party.pool);
        longhaul_transport::join(address, sink, &self.options(party), &party.pool, &party.control, &engine)
    }

    fn provide(&self, address: SocketAddr, source: Arc<dyn Source>, party: &Party) -> End {
        let engine = (self.engine)(&party.pool);
        longhaul_transport::provide(
            address,
            source,
            &self.options(party),
            &party.pool,
            &party.control,
            &engine,
        )
    }
}

struct Listening {
    listener: Listener,
    by: ByEngine,
}

impl Listen for Listening {
    fn address(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    fn accept(&self) -> Option<Box<dyn Call>> {
        let caller = self.listener.accept().unwrap()?;
        Some(Box::new(Calling { caller, by: self.by }))
    }

    fn stop(&self) {
        self.listener.stop();
    }
}

struct Calling {
    caller: Caller,
    by: ByEngine,
}

impl Call for Calling {
    fn provide(self: Box<Self>, source: Arc<dyn Source>, party: &Party) -> End {
        let caller = self.caller.by((self.by.engine)(&party.pool));
        caller.provide(source, &self.by.options(party), &party.pool, &party.control)
    }

    fn join(self: Box<Self>, sink: Box<dyn Sink>, party: &Party) -> End {
        let caller = self.caller.by((self.by.engine)(&party.pool));
        caller.join(sink, &self.by.options(party), &party.pool, &party.control)
    }

    fn busy(self: Box<Self>, retry_after: Duration) {
        self.caller.busy(retry_after);
    }
}
