//! A wire between a joiner and its provider that can be cut, and mended.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Wire {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    is_over: bool,
    ends: Vec<TcpStream>,
}

impl Wire {
    pub(crate) fn to(provider: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for joiner in listener.incoming() {
                let mut state = shared.lock().unwrap();
                if state.is_over {
                    return;
                }
                let (Ok(joiner), Ok(provider)) = (joiner, TcpStream::connect(&provider)) else { continue };
                state.ends.extend([joiner.try_clone().unwrap(), provider.try_clone().unwrap()]);
                if state.is_cut {
                    state.cut();
                    continue;
                }
                drop(state);
                carry(joiner.try_clone().unwrap(), provider.try_clone().unwrap());
                carry(provider, joiner);
            }
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends all connections, and each new one at once.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_cut = true;
        state.cut();
    }

    pub(crate) fn mend(&self) {
        self.state.lock().unwrap().is_cut = false;
    }
}

impl State {
    fn cut(&mut self) {
        for end in self.ends.drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.lock().unwrap().is_over = true;
        self.cut();
        let _ = TcpStream::connect(self.address);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
