//! The conformance suite: what every transport must do, as cases that any of them is put under.
//!
//! ```text
//! conformance!(Std)  ──▶  mod fetch { #[test] per case }     the joiner dials
//!                         mod push  { #[test] per case }     the provider dials
//! ```
//!
//! A transport implements [`Subject`] and adds one line. Each case is a function of a [`Rig`]: the
//! subject, and who dials. Both sides run in one process, over loopback.

pub mod blocking;
mod by_engine;
pub mod doubles;
pub mod endings;
pub mod failures;
pub mod keeping;
pub mod resuming;
pub mod states;
pub mod tree;
pub mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::Reason;
use longhaul_core::wire::ChunkLen;
use longhaul_state::pool::{DEFAULT_MEMORY, Pool};
use longhaul_state::transfer::{Control, Options, Stage, Summary, TransferError};
use longhaul_state::{Sink, Source};

pub use by_engine::ByEngine;

use crate::hostile::{Meddling, Proxy};

/// How one side's part of a transfer ended.
pub type End = Result<Summary, TransferError>;

/// A transport under test.
pub trait Subject: Sync {
    /// Its name in failures.
    fn name(&self) -> &'static str;
    /// What becomes of the integrity that is wanted: none, where nobody sees the bytes.
    fn integrity(&self, wanted: Integrity) -> Integrity {
        wanted
    }
    /// Listens on a free port of the loopback interface.
    fn listen(&self) -> Box<dyn Listen>;
    /// Dials a provider and receives its state.
    ///
    /// # Errors
    /// As the transport says.
    fn join(&self, address: SocketAddr, sink: Box<dyn Sink>, party: &Party) -> End;
    /// Dials a joiner and gives it the state.
    ///
    /// # Errors
    /// As the transport says.
    fn provide(&self, address: SocketAddr, source: Arc<dyn Source>, party: &Party) -> End;
}

/// A transport's listener.
pub trait Listen: Send + Sync {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// Waits for the next peer; `None` once stopped.
    fn accept(&self) -> Option<Box<dyn Call>>;
    /// Ends the listening.
    fn stop(&self);
}

/// A peer that called and is not admitted yet.
pub trait Call: Send {
    /// Gives it the state.
    ///
    /// # Errors
    /// As the transport says.
    fn provide(self: Box<Self>, source: Arc<dyn Source>, party: &Party) -> End;
    /// Receives its state.
    ///
    /// # Errors
    /// As the transport says.
    fn join(self: Box<Self>, sink: Box<dyn Sink>, party: &Party) -> End;
    /// Turns it away for now.
    fn busy(self: Box<Self>, retry_after: Duration);
}

/// What one side brings to a transfer.
#[derive(Clone, Debug)]
pub struct Party {
    /// How it wants it carried out.
    pub options: Options,
    /// Its buffers.
    pub pool: Pool,
    /// Its handle.
    pub control: Arc<Control>,
}

impl Party {
    /// The party of this member, with patience for a slow machine.
    #[must_use]
    pub fn new(member: u8) -> Self {
        let options = Options {
            member: MemberId([member; 16]),
            transfer: TransferId([9; 16]),
            stall_timeout: Duration::from_secs(20),
            ..Options::default()
        };
        let pool = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, options.lanes);
        Self { options, pool, control: Arc::new(Control::new()) }
    }
}

/// Both parties of one transfer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who gives.
    pub provider: Party,
    /// Who receives.
    pub joiner: Party,
}

impl Default for Settings {
    fn default() -> Self {
        Self { provider: Party::new(1), joiner: Party::new(2) }
    }
}

impl Settings {
    /// The defaults with this integrity, and up to this many data lanes.
    #[must_use]
    pub fn new(integrity: Integrity, lanes: u16) -> Self {
        let mut settings = Self::default();
        for party in [&mut settings.provider, &mut settings.joiner] {
            party.options.integrity = integrity;
            party.options.lanes = lanes;
            party.pool = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, lanes);
        }
        settings
    }
}

/// How both sides of a transfer ended.
#[derive(Debug)]
pub struct Ends {
    /// The provider.
    pub provider: End,
    /// The joiner.
    pub joiner: End,
}

impl Ends {
    /// Both summaries, which say the same.
    ///
    /// # Panics
    /// If a side failed, or the two tell different things.
    #[expect(clippy::must_use_candidate, reason = "that both agreed may be all that a case asks")]
    pub fn agreed(self) -> (Summary, Summary) {
        let (provider, joiner) = match (self.provider, self.joiner) {
            (Ok(provider), Ok(joiner)) => (provider, joiner),
            (provider, joiner) => panic!("it should succeed:\nprovider {provider:?}\njoiner {joiner:?}"),
        };
        assert_eq!(
            (provider.items, provider.bytes, provider.integrity, provider.root),
            (joiner.items, joiner.bytes, joiner.integrity, joiner.root)
        );
        assert!(provider.confirmed && joiner.confirmed);
        (provider, joiner)
    }

    /// Both errors, which give one reason.
    ///
    /// # Panics
    /// If a side succeeded, or fails for another reason.
    #[expect(clippy::must_use_candidate, reason = "the reason may be all that a case asks")]
    pub fn failed(self, reason: Reason) -> (TransferError, TransferError) {
        let (provider, joiner) = match (self.provider, self.joiner) {
            (Err(provider), Err(joiner)) => (provider, joiner),
            (provider, joiner) => panic!("both should fail:\nprovider {provider:?}\njoiner {joiner:?}"),
        };
        assert_eq!((provider.reason, joiner.reason), (reason, reason), "{provider:?}\n{joiner:?}");
        (provider, joiner)
    }
}

/// Who dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The joiner.
    Fetch,
    /// The provider.
    Push,
}

/// A transport, used one way.
#[derive(Clone, Copy)]
pub struct Rig<'a> {
    /// The transport.
    pub subject: &'a dyn Subject,
    /// Who dials.
    pub way: Way,
}

impl Rig<'_> {
    /// Carries out one transfer to the end of both sides, and sees that all buffers came back.
    ///
    /// # Panics
    /// If a side panicked, or holds buffers.
    pub fn run(&self, source: Arc<dyn Source>, sink: Box<dyn Sink>, settings: &Settings) -> Ends {
        let listener = self.subject.listen();
        let ends = self.run_at(&*listener, source, sink, settings);
        for party in [&settings.provider, &settings.joiner] {
            eventually("all buffers are back", || party.pool.in_use() == 0);
            assert_eq!(party.control.stats().stage, Stage::Over);
        }
        ends
    }

    /// The same through a proxy that meddles with its connections.
    ///
    /// # Panics
    /// If a side panicked.
    pub fn run_through(
        &self,
        meddling: &[Meddling],
        source: Arc<dyn Source>,
        sink: Box<dyn Sink>,
        settings: &Settings,
    ) -> Ends {
        let listener = self.subject.listen();
        let proxy = Proxy::new(listener.address(), meddling);
        let ends = self.run_between(&*listener, proxy.address(), source, sink, settings);
        let connections = proxy.recorded().len();
        assert!(meddling.iter().all(|m| m.connection < connections), "it never came to {meddling:?}");
        for party in [&settings.provider, &settings.joiner] {
            eventually("all buffers are back", || party.pool.in_use() == 0);
        }
        ends
    }

    /// The same at a listener that stands already.
    ///
    /// # Panics
    /// If a side panicked, or nobody called.
    pub fn run_at(
        &self,
        listener: &dyn Listen,
        source: Arc<dyn Source>,
        sink: Box<dyn Sink>,
        settings: &Settings,
    ) -> Ends {
        self.run_between(listener, listener.address(), source, sink, settings)
    }

    fn run_between(
        &self,
        listener: &dyn Listen,
        address: SocketAddr,
        source: Arc<dyn Source>,
        sink: Box<dyn Sink>,
        settings: &Settings,
    ) -> Ends {
        let called = || listener.accept().expect("somebody calls");
        thread::scope(|scope| match self.way {
            Way::Fetch => {
                let provider = scope.spawn(|| called().provide(source, &settings.provider));
                let joiner = self.subject.join(address, sink, &settings.joiner);
                Ends { provider: provider.join().expect("the provider does not panic"), joiner }
            }
            Way::Push => {
                let joiner = scope.spawn(|| called().join(sink, &settings.joiner));
                let provider = self.subject.provide(address, source, &settings.provider);
                Ends { provider, joiner: joiner.join().expect("the joiner does not panic") }
            }
        })
    }
}

/// Waits until something has become true.
///
/// # Panics
/// If it does not within half a minute.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a `#[test]` of each case, both ways or one, for a [`Subject`]; for one on which nobody sees the bytes, without those
/// about checksums.
#[macro_export]
macro_rules! conformance {
    ($subject:expr) => {
        mod fetch {
            use super::*;
            $crate::conformance!($subject, Fetch);
        }
        mod push {
            use super::*;
            $crate::conformance!($subject, Push);
        }
    };
    ($subject:expr, $way:ident) => {
        $crate::conformance_cases!($subject, $way);
        $crate::conformance_checked_cases!($subject, $way);
    };
    ($subject:expr, $way:ident, unchecked) => {
        $crate::conformance_cases!($subject, $way);
    };
}

/// The cases that are about checksums. Use [`conformance!`].
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_checked_cases {
    ($subject:expr, $way:ident) => {
        $crate::conformance_cases! { $subject, $way:
            keeping::what_was_checked_otherwise_is_sent_again
            keeping::what_was_changed_in_staging_is_sent_again
            keeping::what_has_rotted_is_found_and_sent_again
        }
    };
}

/// The table of cases. Use [`conformance!`].
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($subject:expr, $way:ident) => {
        $crate::conformance_cases! { $subject, $way:
            states::an_empty_directory
            states::an_empty_file
            states::one_file_is_a_state_of_its_own
            states::files_of_every_size
            states::a_file_above_4_gib
            states::files_longer_than_any_disk
            states::sparse_files_stay_sparse
            states::deep_nesting
            states::many_small_files
            states::hard_links_stay_links
            states::symbolic_links_stay_links
            states::modes_and_times_to_the_nanosecond
            states::any_legal_name
            states::a_mixture_at_every_integrity_over_any_lanes
            states::memory_to_memory
            states::a_stream_from_callback_to_callback
            states::a_stream_lands_in_a_file
            states::an_old_state_is_replaced_in_one_step
            failures::an_error_of_the_writing_callback_is_no_end
            failures::a_panic_of_the_writing_callback_is_no_end
            failures::an_error_of_the_reading_callback_fails_both
            failures::a_panic_of_the_reading_callback_fails_both
            failures::a_file_that_changes_before_it_is_read_is_named
            failures::a_file_that_changes_while_it_is_read_is_named
            failures::a_name_that_comes_or_goes_is_named
            failures::a_sink_that_fails_anywhere_publishes_nothing
            failures::a_sink_that_panics_anywhere_publishes_nothing
            failures::a_source_that_fails_anywhere_is_an_error_on_both_sides
            failures::a_read_that_fails_names_item_and_offset
            failures::a_source_that_panics_anywhere_is_an_error_on_both_sides
            failures::a_destination_that_is_not_empty_is_refused_before_the_first_byte
            failures::a_missing_source_is_an_error_on_both_sides
            failures::members_of_different_clusters_refuse_each_other
            failures::there_is_no_state_to_have_from_oneself
            blocking::a_source_that_blocks_anywhere_stalls_the_session
            blocking::a_sink_that_blocks_anywhere_stalls_the_session
            endings::either_side_can_cancel_in_the_middle
            endings::any_side_can_cancel_at_any_step
            endings::a_cancel_before_the_start_is_heard
            endings::a_cancel_while_it_is_published_tells_the_truth
            endings::cancelled_transfers_release_everything
            endings::a_session_outlives_its_listener
            endings::a_full_listener_says_when_to_come_back
            endings::nobody_there_is_an_error
            endings::two_of_the_same_role_refuse_each_other
            resuming::a_lost_connection_is_replaced_and_not_all_is_sent_again
            resuming::connections_lost_again_and_again_are_replaced
            resuming::a_chunk_that_takes_longer_than_the_stall_timeout_is_no_stall
            resuming::a_lost_data_lane_leaves_the_others_to_go_on
            resuming::the_last_data_lane_is_replaced_with_the_connection
            resuming::without_redial_a_lost_connection_is_an_error
            keeping::what_is_durable_is_not_sent_again
            keeping::what_changed_since_is_sent_anew_and_the_rest_is_kept
            keeping::what_is_not_claimed_is_never_more_than_a_checkpoint
            words::what_applications_say_reaches_the_other_side
            words::a_part_of_a_state_by_its_id_and_selector
            words::what_is_refused_comes_with_a_reply
        }
    };
    ($subject:expr, $way:ident: $($module:ident :: $case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let way = $crate::conformance::Way::$way;
                $crate::conformance::$module::$case(&$crate::conformance::Rig { subject: &$subject, way });
            }
        )*
    };
}
