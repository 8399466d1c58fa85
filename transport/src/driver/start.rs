//! How a session begins: its machine is built, its first lane and its helpers are started.

use std::sync::Arc;
use std::time::Instant as Clock;

use longhaul_core::id::{Lane, Token};
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::{Phase, Side};
use longhaul_core::session::{self, SessionError, capability};
use longhaul_core::time::Instant;
use longhaul_core::wire::{ChunkLen, FRAME_MAX, Init, Roles};
use longhaul_state::pool::Pool;
use longhaul_state::transfer::{Summary, TransferError};

use super::bucket::Bucket;
use super::{Driver, LANES, Lanes, Machine, Message, Part, Setup};
use crate::engine::Helpers;
use crate::lane::{LaneEnd, Port};
use crate::pipe::Pipes;
use crate::stream::Connection;
use crate::threads::Threads;

/// Stack enough to build a machine on.
const BUILDING: usize = 1536 << 10;
const _: () = assert!(4 * size_of::<Machine>() < BUILDING);
/// Buffers for lanes that carry control: each idle reader holds one, lane 0 may have some on the way.
const RESERVED: usize = LANES + 3;
/// Longer than any control frame.
const CONTROL_CHUNK: ChunkLen = ChunkLen::new(32 << 10).expect("a power of two in range");
const _: () = assert!(FRAME_MAX <= CONTROL_CHUNK.bytes() as usize);
/// The longest chunk of a small state.
const SMALL_CHUNK: ChunkLen = ChunkLen::new(session::SMALL_BYTES as u32).expect("a power of two in range");

/// Runs a session over `connection`, its lane 0, to its end.
pub(crate) fn run(
    mut part: Part,
    connection: Connection,
    setup: Setup<'_>,
) -> Result<Summary, TransferError> {
    let options = setup.options;
    crate::priority::take(options.priority);
    let (side, holds) = (part.side(), part.holds());
    let config = session::Config {
        roles: match side {
            Side::Provider => Roles::PROVIDER,
            Side::Joiner => Roles::JOINER,
        },
        requests: u16::from(side == Side::Joiner),
        member: options.member,
        cluster: options.cluster,
        transfer: options.transfer,
        epoch: longhaul_core::id::Epoch(0),
        token: if let Lanes::Attach(admission) = &setup.lanes { admission.token } else { Token::default() },
        capabilities: if options.redial { capability::ALL } else { capability::ALL & !capability::RESUME },
        integrity: options.integrity,
        lanes: options.lanes.clamp(1, (LANES - 1) as u16).min(setup.pool.lanes()),
        fresh: !holds,
        chunk: setup.pool.chunk(),
        read_depth: 3,
        max_retries: options.max_retries.min(14),
        stall_timeout: options.stall_timeout,
        handshake_timeout: options.handshake_timeout,
        seed: seed(),
    };
    let machine = match built(&config, setup.init.as_ref()) {
        Ok(machine) => machine,
        Err(error) => {
            refuse(&error, side, &connection);
            return Err(TransferError::session(error, side, Phase::Init));
        }
    };
    // A provider receives control frames alone; a joiner a small state's payload too.
    let reserved = match side {
        Side::Provider => CONTROL_CHUNK,
        Side::Joiner => setup.pool.chunk().clamp(ChunkLen::DEFAULT, SMALL_CHUNK),
    };
    let helpers = Helpers {
        queue: setup.queue.clone(),
        threads: Threads::new(setup.queue.clone(), options.priority),
        share: setup.pool.share(),
        reserved: Pool::reserved(reserved, RESERVED).share(),
        control: Arc::clone(setup.control),
        data_path: options.data_path,
        pipes: Pipes::default(),
    };
    let wake = setup.queue.clone();
    setup.control.on_cancel(move || wake.send(Message::Cancel));
    let control_lane = LaneEnd::start(
        Port { lane: Lane::CONTROL, connection: 0 },
        connection,
        helpers.reserved.clone(),
        Integrity::None,
        None,
        &helpers,
        &**setup.engine,
    );
    let mut lanes: Vec<Option<LaneEnd>> = (0..LANES).map(|_| None).collect();
    lanes[0] = Some(control_lane);
    let role = part.start(holds, options, &helpers, &**setup.engine);
    let driver = Driver {
        machine,
        side,
        role,
        lanes,
        helpers,
        setup,
        started: Clock::now(),
        scratch: Box::new([0; FRAME_MAX]),
        error: None,
        undialled: None,
        lost: Vec::new(),
        redials: 0,
        control_ended: false,
        refused: None,
        app_reply: Vec::new(),
        bucket: Bucket::default(),
    };
    driver.drive()
}

/// The machine of a session. It is built on the stack before it comes to lie where it stays, two or three times its
/// size: on the stack of a thread that goes, or that of every session would keep these pages.
fn built(config: &session::Config, init: Option<&Init>) -> Result<Box<Machine>, SessionError> {
    std::thread::scope(|scope| {
        // Of another size than those of other threads: the system gives it again to the next machine, not to them.
        let thread = std::thread::Builder::new().name("longhaul-build".into()).stack_size(BUILDING);
        let thread = thread.spawn_scoped(scope, || build(config, init));
        // Without a thread to spare it costs what it costs.
        thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(|| build(config, init))
    })
}

/// Never part of a caller, whose stack would have the room for it.
#[inline(never)]
fn build(config: &session::Config, init: Option<&Init>) -> Result<Box<Machine>, SessionError> {
    match init {
        None => Ok(Box::new(Machine::dial(*config, Instant::ZERO))),
        Some(init) => Machine::accept(*config, init, Instant::ZERO).map(Box::new),
    }
}

/// Spreads the re-dials of sessions that lost one peer at once.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness they come together, nothing else.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Tells a peer that there will be no session.
pub(crate) fn refuse(error: &SessionError, side: Side, connection: &Connection) {
    let mut words = [0; FRAME_MAX];
    let len = session::refusal(error, side, &mut words);
    // A peer that does not listen misses the reason, nothing else.
    let _ = connection.say(&words[..len]);
    connection.finish();
}
