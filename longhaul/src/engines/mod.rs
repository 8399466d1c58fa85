//! What moves the bytes of a process's sessions: one engine with all of the pool, or several rings with a share of it each.
//!
//! A session lives on one of them with all its lanes: on the one that has the fewest when it begins.

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod auto;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_state::pool::Pool;
use longhaul_state::transfer::{Control, Event};
use longhaul_transport::Engine;
use longhaul_transport_std::Blocking;

use crate::settings::{Settings, Transport};

/// What moves the bytes.
pub(crate) struct Engines {
    parts: Vec<Part>,
    /// How many sessions each has.
    loads: Mutex<Vec<usize>>,
}

/// An engine, and the pool that its sessions take their buffers from.
struct Part {
    by: By,
    pool: Pool,
}

/// What moves the bytes of sessions.
enum By {
    Blocking,
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    Ring(Arc<dyn Engine>),
    /// Which of them is chosen for each session.
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    Auto(Arc<auto::Lazy>),
}

/// A session's engine and pool; it counts there until this is dropped.
pub(crate) struct Place<'a> {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) pool: &'a Pool,
    /// Which of the engines.
    pub(crate) number: usize,
    chosen: Chosen,
    engines: &'a Engines,
}

/// What moves a session's content.
enum Chosen {
    Known(Transport),
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    Later(Arc<auto::Auto>),
}

impl Place<'_> {
    /// What has moved the content: never [`Transport::Auto`].
    pub(crate) fn transport(&self) -> Transport {
        match &self.chosen {
            Chosen::Known(transport) => *transport,
            #[cfg(all(target_os = "linux", not(longhaul_portable)))]
            Chosen::Later(auto) => auto.transport(),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.engines.loads()[self.number] -= 1;
    }
}

impl Engines {
    /// The engines for so many sessions at once: as many as there are to be rings, where there are rings. `control` hears of
    /// it if that is not what was asked for by name.
    pub(crate) fn start(settings: &Settings, sessions: usize, rings: usize, control: &Control) -> Self {
        let asked = settings.wanted_transport(control);
        let parts = start(asked, settings, sessions, rings, control);
        tracing::debug!(asked = asked.name(), engines = parts.len(), "transport");
        let loads = Mutex::new(vec![0; parts.len()]);
        Self { parts, loads }
    }

    /// The place of a session that begins now.
    pub(crate) fn place(&self) -> Place<'_> {
        let mut loads = self.loads();
        let fewest = loads.iter_mut().enumerate().min_by_key(|(_, load)| **load);
        let (number, load) = fewest.expect("there is at least one engine");
        *load += 1;
        let Part { by, pool } = &self.parts[number];
        let (engine, chosen): (Arc<dyn Engine>, _) = match by {
            By::Blocking => (Arc::new(Blocking), Chosen::Known(Transport::Std)),
            #[cfg(all(target_os = "linux", not(longhaul_portable)))]
            By::Ring(ring) => (Arc::clone(ring), Chosen::Known(Transport::Uring)),
            #[cfg(all(target_os = "linux", not(longhaul_portable)))]
            By::Auto(lazy) => {
                let auto = Arc::new(auto::Auto::new(Arc::clone(lazy)));
                (Arc::clone(&auto) as _, Chosen::Later(auto))
            }
        };
        Place { engine, pool, number, chosen, engines: self }
    }

    /// How many sessions each engine has.
    pub(crate) fn loads(&self) -> MutexGuard<'_, Vec<usize>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said where there is no ring.
fn without_ring(why: &str) -> String {
    format!("io_uring is not used, but blocking calls: {why}")
}

fn blocking(settings: &Settings, sessions: usize) -> Vec<Part> {
    vec![Part { by: By::Blocking, pool: settings.pool(sessions) }]
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
fn start(
    asked: Transport,
    settings: &Settings,
    sessions: usize,
    rings: usize,
    control: &Control,
) -> Vec<Part> {
    if asked == Transport::Std {
        return blocking(settings, sessions);
    }
    let (pools, is_auto) = (settings.pools(sessions, rings), asked == Transport::Auto);
    // Several are for a service, which can wait for them before anybody calls.
    if let ([pool], true) = (&pools[..], is_auto) {
        return vec![Part { by: By::Auto(Arc::new(auto::Lazy::new(pool.clone()))), pool: pool.clone() }];
    }
    let by = |pool: &Pool, ring| {
        if is_auto {
            By::Auto(Arc::new(auto::Lazy::started(pool.clone(), ring)))
        } else {
            By::Ring(Arc::new(ring))
        }
    };
    start_rings(pools, by).unwrap_or_else(|why| {
        let words = without_ring(&why.to_string());
        tracing::warn!("{words}");
        if !is_auto {
            control.emit(&Event::Warning(words));
        }
        blocking(settings, sessions)
    })
}

/// A ring for each pool, as far as they are to be had.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
fn start_rings(
    pools: Vec<Pool>,
    by: impl Fn(&Pool, longhaul_transport_uring::Ring) -> By,
) -> Result<Vec<Part>, longhaul_transport_uring::Unavailable> {
    let wanted = pools.len();
    let mut parts = Vec::new();
    for pool in pools {
        match longhaul_transport_uring::Ring::start(&pool) {
            Ok(ring) => parts.push(Part { by: by(&pool, ring), pool }),
            Err(why) if parts.is_empty() => return Err(why),
            Err(why) => {
                tracing::warn!("{} of {wanted} rings were started, and move all bytes: {why}", parts.len());
                break;
            }
        }
    }
    if parts.len() > 1 {
        tracing::info!("the sessions are spread over {} rings", parts.len());
    }
    Ok(parts)
}

#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
fn start(
    asked: Transport,
    settings: &Settings,
    sessions: usize,
    _rings: usize,
    control: &Control,
) -> Vec<Part> {
    if asked == Transport::Uring {
        let words = without_ring("this build has none");
        tracing::warn!("{words}");
        control.emit(&Event::Warning(words));
    }
    blocking(settings, sessions)
}

#[cfg(all(test, target_os = "linux", not(longhaul_portable)))]
mod tests {
    use std::io::{self, Read};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use longhaul_state::source::{SourceError, StreamSource};

    use super::*;
    use crate::{Serve, Service, Source};

    fn engines(transport: Transport, rings: usize) -> Engines {
        Engines::start(&Settings { transport, ..Settings::default() }, 8, rings, &Control::new())
    }

    #[test]
    fn a_session_goes_to_the_ring_that_has_the_fewest() {
        let engines = engines(Transport::Uring, 3);
        let mut places: Vec<_> = (0..8).map(|_| engines.place()).collect();
        assert_eq!(*engines.loads(), [3, 3, 2]);
        places.retain(|place| place.number != 1);
        let [next, other] = [engines.place(), engines.place()];
        assert_eq!([next.number, other.number], [1, 1]);
        assert!(!Arc::ptr_eq(&places[0].engine, &next.engine));
    }

    /// Some bytes, and the end when it is let go.
    struct Held {
        left: u32,
        go: Arc<Mutex<Receiver<()>>>,
    }

    impl Read for Held {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 {
                // All are let go at once: when nobody can say anything any more.
                let _ = self.go.lock().unwrap().recv();
                return Ok(0);
            }
            self.left -= 1;
            buffer.fill(7);
            Ok(buffer.len())
        }
    }

    /// Provides over two rings, until the other one is dropped.
    fn provider() -> (Service, Sender<()>) {
        let (let_go, go) = channel();
        let go = Arc::new(Mutex::new(go));
        let make = move || {
            let source = StreamSource::new(Held { left: 20, go: Arc::clone(&go) });
            Ok::<Arc<dyn Source>, SourceError>(Arc::new(source))
        };
        let serving = Serve::sources(make).listen("127.0.0.1:0").transport(Transport::Uring);
        (serving.runtime_threads(2).start().unwrap(), let_go)
    }

    #[test]
    fn eight_sessions_run_over_two_rings_four_on_each() {
        let (provider, let_go) = provider();
        let address = provider.local_addr().to_string();
        let fetches: Vec<_> = (0..8).map(|_| crate::fetch(address.clone()).into_memory(64 << 20)).collect();
        for fetch in &fetches {
            assert!(fetch.events().any(|event| event == Event::Streaming));
        }
        assert_eq!(provider.loads(), [4, 4]);
        drop(let_go);
        for fetch in fetches {
            let (summary, bytes) = fetch.wait().unwrap();
            assert_eq!(summary.bytes, bytes.len() as u64);
        }
        provider.stop();
        let served = provider.wait().unwrap();
        assert_eq!((served.succeeded, served.last.unwrap().transport), (8, Transport::Uring));
    }

    #[test]
    fn blocking_calls_are_one_engine_with_all_of_the_pool() {
        assert_eq!(engines(Transport::Std, 3).loads().len(), 1);
    }
}
