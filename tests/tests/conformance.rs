//! The transports under the conformance suite, one line each; with data paths by name too, for which who dials makes no
//! difference.

use std::sync::Arc;

use longhaul_state::transfer::DataPath;
use longhaul_tests::conformance;
use longhaul_tests::conformance::ByEngine;
use longhaul_transport_std::Blocking;

mod std_transport {
    use super::*;

    const STD: ByEngine = ByEngine { name: "std", engine: |_| Arc::new(Blocking), data_path: DataPath::Auto };

    conformance!(STD);
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod std_buffered {
    use super::*;

    const STD: ByEngine =
        ByEngine { name: "std, buffered", engine: |_| Arc::new(Blocking), data_path: DataPath::Buffered };

    conformance!(STD, Fetch);
}

/// The files of the suite are in the page cache: read past it, as cold ones are.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod std_direct {
    use super::*;

    const STD: ByEngine =
        ByEngine { name: "std, direct", engine: |_| Arc::new(Blocking), data_path: DataPath::Direct };

    conformance!(STD, Fetch);
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod std_splice {
    use super::*;

    const STD: ByEngine =
        ByEngine { name: "std, splice", engine: |_| Arc::new(Blocking), data_path: DataPath::Splice };

    conformance!(STD, Fetch, unchecked);
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod uring_splice {
    use super::*;

    const URING: ByEngine =
        ByEngine { name: "uring, splice", data_path: DataPath::RingSplice, ..uring_buffered::URING };

    conformance!(URING, Fetch, unchecked);
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod uring_transport {
    use super::*;

    const URING: ByEngine = ByEngine {
        name: "uring",
        engine: |pool| Arc::new(longhaul_transport_uring::Ring::start(pool).unwrap()),
        data_path: DataPath::Auto,
    };

    conformance!(URING);
}

/// The files of the suite are in the page cache: read past it, as cold ones are.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod uring_direct {
    use super::*;

    const URING: ByEngine = ByEngine { data_path: DataPath::Direct, ..uring_buffered::URING };

    conformance!(URING, Fetch);
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod uring_buffered {
    use longhaul_state::pool::Pool;
    use longhaul_transport::Engine;

    use super::*;

    pub(crate) const URING: ByEngine =
        ByEngine { name: "uring by a named path", engine: registered, data_path: DataPath::Buffered };

    /// A ring whose buffers are registered from the start, which otherwise they are when they have been used.
    fn registered(pool: &Pool) -> Arc<dyn Engine> {
        let ring = longhaul_transport_uring::Ring::start(pool).unwrap();
        // Where no memory may be locked it is none.
        println!("{} buffers are registered", ring.register());
        Arc::new(ring)
    }

    conformance!(URING, Fetch);
}
