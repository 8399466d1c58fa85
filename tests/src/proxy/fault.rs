//! What is drawn for a round: which transfer, and what is done to it.

use crate::between::{Meddle, Meddling, Toward};
use crate::sim::Random;
use crate::transport::Transport;

/// Which transfer goes through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transfer {
    /// The provider dials.
    pub(super) push: bool,
    /// The state is too large to travel at once, so that it is landed with a journal.
    pub(super) large: bool,
    pub(super) lanes: u16,
    pub(super) blake3: bool,
    /// Of both sides.
    pub(super) transport: Transport,
}

impl Transfer {
    pub(super) fn draw(random: &mut Random) -> Self {
        let (push, large, blake3) = (random.one_in(2), random.one_in(2), random.one_in(2));
        let (lanes, transport) = (random.within(1, 3) as u16, random.pick(&Transport::ALL));
        Self { push, large, lanes, blake3, transport }
    }
}

/// What a connection carries of a transfer that is let alone: to the dialler, and to the listener.
pub(super) type Carried = Vec<[usize; 2]>;

/// Something happens to a transfer that carries so much when it is let alone.
pub(super) fn draw(random: &mut Random, carried: &Carried) -> Meddling {
    let connection = random.below(carried.len() as u64) as usize;
    let toward = random.pick(&[Toward::Dialler, Toward::Listener]);
    let most = carried[connection][usize::from(toward == Toward::Listener)].max(1) as u64;
    let at = random.below(most) as usize;
    let what = match random.below(9) {
        0 | 1 => Meddle::Flip(random.below(8) as u8),
        2 => Meddle::Cut,
        3 => Meddle::Stall,
        4 => Meddle::Silence,
        // Never less than 64 KiB a stall timeout: there is progress.
        5 => Meddle::Slow { bytes: random.within(1, 256 << 10) as usize, per_second: 512 << 10 },
        6 => Meddle::Pieces(random.within(1, 2000) as usize),
        7 => Meddle::Twice(random.within(1, 4096) as usize),
        _ => Meddle::Swap(random.within(1, 4096) as usize),
    };
    Meddling { connection, toward, at, what }
}
