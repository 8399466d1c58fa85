//! The pool's buffers, registered with the ring as far as memory may be locked.

use std::cell::Cell;
use std::io;

use longhaul_state::pool::{Buffer, Pool, Region};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio_uring::buf::fixed::FixedBufRegistry;

use crate::huge;
use crate::op::Slot;

/// Buffers that a ring takes (`UIO_MAXIOV`).
const MOST: u16 = 1024;

/// How often the buffers must be filled by what is announced for them to be registered before they were used.
const MUCH: u64 = 4;

/// The pool's buffers, of which some are registered in time.
pub(crate) struct Registered {
    pool: Pool,
    state: Cell<State>,
}

/// To be registered, memory must be there: all of it at once costs as much time as to move half as many bytes. Where that is
/// much of what is to move it is registered when it has been used anyway.
#[derive(Clone, Copy)]
enum State {
    /// Nothing has come that needs more than a buffer or two.
    Untouched,
    /// So many bytes are still to move first.
    Moving(usize),
    /// So many buffers are, the first by number.
    Registered(u16),
}

impl Registered {
    pub(crate) const fn new(pool: Pool) -> Self {
        Self { pool, state: Cell::new(State::Untouched) }
    }

    /// So many bytes of content come, if that is known.
    pub(crate) fn expect(&self, announced: Option<u64>) {
        if !matches!(self.state.get(), State::Untouched) {
            return;
        }
        let regions = self.pool.lay_out();
        huge::ask_for(&regions);
        let bytes: usize = regions.iter().map(|region| region.len).sum();
        self.state.set(State::Moving(bytes));
        if announced.is_none_or(|announced| announced >= MUCH * bytes as u64) {
            self.register();
        }
    }

    /// So many bytes came in: most of them into these buffers.
    pub(crate) fn moved(&self, bytes: usize) {
        match self.state.get() {
            State::Moving(left) if left > bytes => self.state.set(State::Moving(left - bytes)),
            State::Moving(_) => _ = self.register(),
            State::Untouched | State::Registered(_) => {}
        }
    }

    /// Registers as many buffers as the system allows, if that is not done yet; it may be none. How many there are.
    /// Called on the ring's thread.
    pub(crate) fn register(&self) -> usize {
        self.expect(Some(0));
        let count = match self.state.get() {
            State::Registered(count) => count,
            State::Untouched | State::Moving(_) => most(&self.pool),
        };
        self.state.set(State::Registered(count));
        count.into()
    }

    /// Where a buffer is registered.
    pub(crate) fn index(&self, buffer: &Buffer) -> Option<u16> {
        let State::Registered(count) = self.state.get() else { return None };
        let number = u16::try_from(buffer.number()).ok().filter(|_| buffer.is_of(&self.pool))?;
        (number < count).then_some(number)
    }
}

fn most(pool: &Pool) -> u16 {
    let regions = pool.lay_out();
    let wanted = regions.len().min(MOST.into()) as u16;
    let (mut count, mut asked) = (wanted, false);
    while count > 0 {
        match register(pool, &regions[..count.into()]) {
            Ok(()) => break,
            Err(_) if !std::mem::replace(&mut asked, true) => raise_limit(),
            Err(error) => {
                tracing::debug!(%error, count, "buffers could not be registered");
                count /= 2;
            }
        }
    }
    if count < wanted {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
        tracing::info!(
            "{count} of {wanted} buffers are registered with the ring: the limit on locked memory is {limit} \
             bytes (ulimit -l)"
        );
    }
    // Looked up only if somebody listens.
    tracing::debug!(count, huge_bytes = huge::held(&regions), "buffers are registered");
    count
}

fn register(pool: &Pool, regions: &[Region]) -> io::Result<()> {
    // The runtime keeps what was registered until it ends.
    FixedBufRegistry::new(regions.iter().map(|region| Slot::new(*region, pool))).register()
}

/// What a process may lock unasked is less than it may ask for. The soft limit alone, and the process hears of it: it is
/// the limit of all that it does.
fn raise_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else { return };
    if soft >= hard {
        return;
    }
    match setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard) {
        Ok(()) => tracing::info!("this process may lock {hard} bytes of memory from now on, not {soft}"),
        Err(error) => tracing::debug!(%error, "the limit on locked memory could not be raised"),
    }
}
