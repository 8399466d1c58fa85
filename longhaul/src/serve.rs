//! Serving a state: joiners dial.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use longhaul_state::source::{
    DirectoryOptions, DirectorySource, HardLinks, MemorySource, SourceError, SpecialFiles,
};
use longhaul_state::{LinksPolicy, Source};

use crate::error::{Error, ErrorKind};
use crate::service::{Role, Service};
use crate::settings::{Settings, common_settings};

/// Where one listens, unless told.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7400";
/// Sessions at once, unless told.
pub const DEFAULT_MAX_SESSIONS: usize = 8;

/// Threads that a service may have for its rings.
const RUNTIME_THREADS: std::ops::RangeInclusive<usize> = 1..=64;

/// What both kinds of listeners let one choose.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    pub(crate) address: String,
    pub(crate) max_sessions: usize,
    pub(crate) runtime_threads: usize,
    pub(crate) once: bool,
    pub(crate) insecure: bool,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            address: DEFAULT_ADDRESS.into(),
            max_sessions: DEFAULT_MAX_SESSIONS,
            runtime_threads: 1,
            once: false,
            insecure: false,
        }
    }
}

impl Listening {
    /// The addresses to listen at, once it is known that all of them are allowed.
    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        if self.max_sessions == 0 {
            return Err(Error::new(ErrorKind::Usage, "at least one session must be allowed"));
        }
        if !RUNTIME_THREADS.contains(&self.runtime_threads) {
            let (least, most) = (RUNTIME_THREADS.start(), RUNTIME_THREADS.end());
            let message = format!("ring threads must be {least} to {most}, not {}", self.runtime_threads);
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let unknown = || {
            Error::new(ErrorKind::Usage, format!("{} is no address to listen at", self.address))
                .with_hint("an address is HOST:PORT, as in 127.0.0.1:7400; port 0 takes any free one")
        };
        let addresses: Vec<_> =
            self.address.to_socket_addrs().map_err(|error| unknown().with_cause(error))?.collect();
        if addresses.is_empty() {
            return Err(unknown());
        }
        match addresses.iter().find(|address| !self.insecure && !address.ip().is_loopback()) {
            None => Ok(addresses),
            Some(address) => {
                let message =
                    format!("{address} can be reached by others, and there is no authentication yet");
                Err(Error::new(ErrorKind::Usage, message).with_hint(
                    "listen at 127.0.0.1 and use a tunnel, or say --insecure in a network that you trust",
                ))
            }
        }
    }
}

/// The methods of every builder that listens, over its field `listening`.
macro_rules! listening_settings {
    () => {
        /// Where to listen, `HOST:PORT`; port 0 takes any free one. 127.0.0.1:7400 unless told.
        pub fn listen(mut self, address: impl Into<String>) -> Self {
            self.listening.address = address.into();
            self
        }

        /// Sessions at once; who comes beyond is told to ask again later. 8 unless told.
        pub fn max_sessions(mut self, sessions: usize) -> Self {
            self.listening.max_sessions = sessions;
            self
        }

        /// Threads that move the bytes of all sessions where rings do, 1 to 64: each has a ring and its part of the buffers,
        /// and a session lives on one of them. 1 unless told; no more than there may be sessions, nor than the memory
        /// for buffers has MiB.
        pub fn runtime_threads(mut self, threads: usize) -> Self {
            self.listening.runtime_threads = threads;
            self
        }

        /// Whether to end with the end of the first session, however it ends. No unless told.
        pub fn once(mut self, once: bool) -> Self {
            self.listening.once = once;
            self
        }

        /// Whether others than this machine may connect, without authentication. No unless told.
        pub fn insecure(mut self, insecure: bool) -> Self {
            self.listening.insecure = insecure;
            self
        }
    };
}
pub(crate) use listening_settings;

/// The methods of every builder that reads a path, over its method `directory`.
macro_rules! directory_settings {
    () => {
        /// What becomes of symbolic links that lead out of the state. Refused unless told; of no
        /// effect on other sources than a path.
        pub fn links(mut self, links: LinksPolicy) -> Self {
            if let Some(options) = self.directory() {
                options.links = links;
            }
            self
        }

        /// What becomes of files with several names. Kept unless told; of no effect on other
        /// sources than a path.
        pub fn hard_links(mut self, hard_links: HardLinks) -> Self {
            if let Some(options) = self.directory() {
                options.hard_links = hard_links;
            }
            self
        }

        /// What becomes of FIFOs, sockets and devices. Refused unless told; of no effect on other
        /// sources than a path.
        pub fn special(mut self, special: SpecialFiles) -> Self {
            if let Some(options) = self.directory() {
                options.special = special;
            }
            self
        }
    };
}
pub(crate) use directory_settings;

/// What makes the source of each session.
type MakeSource = Box<dyn Fn() -> Result<Arc<dyn Source>, SourceError> + Send + Sync>;

/// Serves a state to joiners that dial: made by [`crate::serve`].
#[must_use = "nothing is served before it is started"]
pub struct Serve {
    state: State,
    settings: Settings,
    listening: Listening,
}

enum State {
    Path(std::path::PathBuf, DirectoryOptions),
    Sources(MakeSource),
}

impl Serve {
    pub(crate) fn path(path: &Path) -> Self {
        Self::new(State::Path(path.to_path_buf(), DirectoryOptions::default()))
    }

    fn new(state: State) -> Self {
        Self { state, settings: Settings::default(), listening: Listening::default() }
    }

    /// Serves sources of one's own: `make` is called for every session.
    pub fn sources(make: impl Fn() -> Result<Arc<dyn Source>, SourceError> + Send + Sync + 'static) -> Self {
        Self::new(State::Sources(Box::new(make)))
    }

    /// Serves bytes in memory, as a state that is one file.
    pub fn memory(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self::sources(move || Ok(Arc::new(MemorySource::new(Arc::clone(&bytes)))))
    }

    common_settings!();
    listening_settings!();
    directory_settings!();

    fn directory(&mut self) -> Option<&mut DirectoryOptions> {
        match &mut self.state {
            State::Path(_, options) => Some(options),
            State::Sources(_) => None,
        }
    }

    /// Listens and serves, until it is stopped.
    ///
    /// # Errors
    /// If the state is not there, a choice can't be, or the address can't be had.
    pub fn start(mut self) -> Result<Service, Error> {
        self.settings.check()?;
        let make: MakeSource = match self.state {
            State::Path(path, options) => {
                DirectorySource::new(&path, options)?;
                Box::new(move || Ok(Arc::new(DirectorySource::new(&path, options)?)))
            }
            State::Sources(make) => {
                self.settings.without_files();
                make
            }
        };
        Service::start(Role::Provider(Box::new(move |_| make())), self.settings, &self.listening)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_connect_only_if_that_was_said() {
        let open = Listening { address: "0.0.0.0:0".into(), ..Listening::default() };
        let error = open.addresses().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.hint().unwrap().contains("--insecure"));
        assert!(Listening { insecure: true, ..open }.addresses().is_ok());
        assert!(Listening::default().addresses().is_ok());
    }

    #[test]
    fn what_is_no_address_is_said_so() {
        let error = Listening { address: "nonsense".into(), ..Listening::default() }.addresses().unwrap_err();
        assert!(error.hint().unwrap().contains("HOST:PORT"), "{error}");
    }
}
