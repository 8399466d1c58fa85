//! The transports under the conformance suite, one line each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longhaul_state::{Sink, Source};
use longhaul_tests::conformance;
use longhaul_tests::conformance::{Call, End, Listen, Party, Subject};
use longhaul_transport_std::{Caller, Listener};

mod std_transport {
    use super::*;

    struct Std;

    impl Subject for Std {
        fn name(&self) -> &'static str {
            "std"
        }

        fn listen(&self) -> Box<dyn Listen> {
            Box::new(StdListener(Listener::bind("127.0.0.1:0").unwrap()))
        }

        fn join(&self, address: SocketAddr, sink: Box<dyn Sink>, party: &Party) -> End {
            longhaul_transport_std::join(address, sink, &party.options, &party.pool, &party.control)
        }

        fn provide(&self, address: SocketAddr, source: Arc<dyn Source>, party: &Party) -> End {
            longhaul_transport_std::provide(address, source, &party.options, &party.pool, &party.control)
        }
    }

    struct StdListener(Listener);

    impl Listen for StdListener {
        fn address(&self) -> SocketAddr {
            self.0.local_addr()
        }

        fn accept(&self) -> Option<Box<dyn Call>> {
            Some(Box::new(StdCall(self.0.accept().unwrap()?)))
        }

        fn stop(&self) {
            self.0.stop();
        }
    }

    struct StdCall(Caller);

    impl Call for StdCall {
        fn provide(self: Box<Self>, source: Arc<dyn Source>, party: &Party) -> End {
            self.0.provide(source, &party.options, &party.pool, &party.control)
        }

        fn join(self: Box<Self>, sink: Box<dyn Sink>, party: &Party) -> End {
            self.0.join(sink, &party.options, &party.pool, &party.control)
        }

        fn busy(self: Box<Self>, retry_after: Duration) {
            self.0.busy(retry_after);
        }
    }

    conformance!(Std);
}
