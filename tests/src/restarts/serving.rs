//! A provider that is started again, at the same address, whenever it was killed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::command::Running;

/// What kills the one that runs now.
type Killer = Box<dyn FnOnce() + Send>;

pub(super) struct Serving {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    /// Says each time that one listens again.
    listens: Receiver<Result<(), String>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    stopped: bool,
    killer: Option<Killer>,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn kill(&self) {
        if let Some(killer) = self.with(|state| state.killer.take()) {
            killer();
        }
    }
}

impl Serving {
    pub(super) fn start(longhaul: &Path, source: &Path) -> Result<Self, String> {
        let (first, address) = serve(longhaul, source, "127.0.0.1:0")?;
        let shared = Arc::new(Shared::default());
        let (sender, listens) = channel();
        let thread = {
            let (shared, longhaul, source) = (Arc::clone(&shared), longhaul.to_owned(), source.to_owned());
            shared.with(|state| state.killer = Some(Box::new(first.killer())));
            thread::spawn(move || keep(first, address, &shared, &longhaul, &source, &sender))
        };
        Ok(Self { address, shared, listens, thread: Some(thread) })
    }

    /// What kills the one that runs now.
    pub(super) fn killer(&self) -> impl FnOnce() + Send + 'static + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.kill()
    }

    /// Waits until one listens again.
    pub(super) fn listens_again(&self) -> Result<(), String> {
        self.listens.recv().map_err(|_| "nobody serves any more")?
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.with(|state| state.stopped = true);
        self.shared.kill();
        if let Some(thread) = self.thread.take() {
            // What it had to say was said.
            let _ = thread.join();
        }
    }
}

/// Starts the next one whenever the last is over.
fn keep(
    mut running: Running,
    address: SocketAddr,
    shared: &Shared,
    longhaul: &Path,
    source: &Path,
    listens: &Sender<Result<(), String>>,
) {
    loop {
        let ended = running.over();
        if shared.with(|state| state.stopped) {
            return;
        }
        let next = ended.and_then(|_| serve(longhaul, source, &address.to_string()));
        let said = match next {
            Ok((next, _)) => {
                shared.with(|state| state.killer = Some(Box::new(next.killer())));
                running = next;
                listens.send(Ok(()))
            }
            Err(error) => return drop(listens.send(Err(error))),
        };
        // The rig is over.
        if said.is_err() {
            return;
        }
    }
}

fn serve(longhaul: &Path, source: &Path, address: &str) -> Result<(Running, SocketAddr), String> {
    let arguments = ["serve".as_ref(), source.as_os_str(), "--listen".as_ref(), address.as_ref()];
    let running = Running::start(longhaul, arguments)?;
    let listening = running.until("listening")?;
    let address = listening["address"].as_str().and_then(|address| address.parse().ok());
    Ok((running, address.ok_or("it listens nowhere")?))
}
