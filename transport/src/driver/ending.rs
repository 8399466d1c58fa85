//! How a session ends: what both sides still have to say to each other, and what is waited for.

use std::time::{Duration, Instant as Clock};

use longhaul_core::id::Lane;
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::State;
use longhaul_state::transfer::{Stage, Summary, TransferError};

use super::{Driver, Message, Role};

/// How long a session that is over waits for the peer to take its last words, and no longer than the stall
/// timeout: one that found out by it that the peer is silent ends within twice that time.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a peer may have had on its way when the session ended: reads of a lane, each of a buffer at most.
const UNHEARD: u32 = 64;
/// The same time for a session that gives way to others: they wait for its place.
const GIVING_WAY: Duration = Duration::from_millis(500);
/// How long it then waits for its own threads.
const WIND_UP: Duration = Duration::from_secs(5);

impl Driver<'_> {
    /// The session is over: last words go out, connections end, threads end, the result is told.
    pub(super) fn wind_up(mut self) -> Result<Summary, TransferError> {
        let failed = self.machine.state() == State::Failed;
        self.drain();
        if let Some(control_lane) = &mut self.lanes[0] {
            // Why it ends is said whether or not the lane has room.
            while let Some(transmit) = self.machine.poll_transmit(Lane::CONTROL, &mut self.scratch[..]) {
                debug_assert!(transmit.payload.is_none(), "nothing moves any more");
                control_lane.building.control(&self.scratch[..transmit.len]);
            }
            control_lane.finish();
        }
        self.helpers.control.enter(Stage::Over);
        self.last_words();
        self.helpers.queue.stop();
        for end in self.lanes.iter_mut().flatten() {
            end.close();
        }
        self.lanes.clear();
        self.helpers.control.forget_wakers();
        let summary = match &mut self.role {
            Role::Provide(provide) => provide.end(),
            Role::Join(join) => join.end(failed),
        };
        self.helpers.share.wake();
        self.helpers.reserved.wake();
        let threads = self.helpers.threads.clone();
        drop(self.setup);
        if !threads.wait(WIND_UP) {
            tracing::warn!("threads of an ended session are still busy in a system call or in user code");
        }
        let phase = self.machine.phase();
        // Everything was sent, and then the peer was lost: it may have published.
        let unconfirmed = self.machine.state() == State::Unconfirmed;
        // A task that was refused fails nothing but itself: here it was the only one.
        if let Some(refused) = self.refused.filter(|_| self.machine.state() == State::Done) {
            return Err(refused);
        }
        if let Some(error) = self.machine.failure().filter(|_| !unconfirmed) {
            let alone = self.side == Side::Joiner && phase == Phase::Complete;
            let error = self.error.unwrap_or_else(|| match TransferError::session(error, self.side, phase) {
                // What a joiner that has everything waits for is its own disk.
                stalled if alone && stalled.reason == Reason::Stalled => {
                    TransferError { side: Side::Joiner, ..stalled }
                }
                error => error,
            });
            return Err(match self.undialled {
                Some(cause) if error.reason == Reason::Unreachable => error.undialled(cause),
                _ => error,
            });
        }
        let stats = self.helpers.control.stats();
        let terms = self.machine.terms(self.side);
        Ok(Summary {
            items: summary.items,
            bytes: summary.bytes,
            bytes_sent: stats.bytes_sent,
            bytes_resumed: stats.bytes_resumed,
            retries: stats.retries,
            integrity: terms.map_or(Integrity::None, |terms| terms.integrity),
            root: summary.root,
            confirmed: !unconfirmed,
            caveat: summary.caveat,
            app_meta: summary.app_meta,
            app_reply: self.app_reply,
            peer: self.machine.peer().unwrap_or_default(),
        })
    }

    /// Lets lane 0's writer write what it has, then waits for the peer to end its side too, for a
    /// bounded time: a connection closed with unread bytes would take our last words with it.
    fn last_words(&mut self) {
        // A peer that is gone already hears nothing.
        if self.control_ended {
            return;
        }
        let patience = if self.helpers.control.gives_way() { GIVING_WAY } else { LAST_WORDS };
        let deadline = Clock::now() + patience.min(self.setup.options.stall_timeout);
        let (mut written, mut unheard) = (false, UNHEARD);
        while let Some(left) = deadline.checked_duration_since(Clock::now()) {
            match self.setup.messages.recv_within(left) {
                Some(Message::WriterEnded { port })
                    if port.lane == Lane::CONTROL && self.is_current(port) =>
                {
                    written = true;
                    if let Some(end) = &self.lanes[0] {
                        end.finish_connection();
                    }
                    // A provider that heard of the publishing has nothing to wait for, and nobody has if
                    // the peer was quicker to hear us than our writer to say that it has written.
                    let heard = self.side == Side::Provider && self.machine.state() == State::Done;
                    if heard || self.control_ended {
                        return;
                    }
                }
                Some(Message::LaneEnded { port, .. })
                    if port.lane == Lane::CONTROL && self.is_current(port) =>
                {
                    self.control_ended = true;
                    if written {
                        return;
                    }
                    // The peer is gone already: nobody hears us.
                    if self.lanes[0].is_none() || self.machine.state() == State::Failed {
                        return;
                    }
                }
                Some(Message::Cancel) if self.helpers.control.gives_way() => return,
                // One that speaks on and on does not listen.
                Some(Message::Inbound { .. }) if unheard == 0 => return,
                Some(Message::Inbound { .. }) => unheard -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }
}
