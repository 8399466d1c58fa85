//! How a session begins: its machine is built, its first lane and its helpers are started.

use std::sync::Arc;
use std::time::Instant as Clock;

use longhaul_core::id::{Lane, Token};
use longhaul_core::integrity::Integrity;
use longhaul_core::reason::{Phase, Side};
use longhaul_core::session::{self, SessionError, capability};
use longhaul_core::time::Instant;
use longhaul_core::wire::{ChunkLen, FRAME_MAX, Roles};
use longhaul_state::pool::Pool;
use longhaul_state::transfer::{Options, Summary, TransferError};

use super::bucket::Bucket;
use super::build::Building;
use super::{Began, Driver, LANES, Lanes, Message, Part, Setup};
use crate::engine::Helpers;
use crate::lane::{LaneEnd, Port};
use crate::pipe::Pipes;
use crate::stream::Connection;
use crate::threads::Threads;

/// Buffers for lanes that carry control: each idle reader holds one, lane 0 may have some on the way.
const RESERVED: usize = LANES + 3;
/// Longer than any control frame.
const CONTROL_CHUNK: ChunkLen = ChunkLen::new(32 << 10).expect("a power of two in range");
const _: () = assert!(FRAME_MAX <= CONTROL_CHUNK.bytes() as usize);
/// The longest chunk of a small state.
const SMALL_CHUNK: ChunkLen = ChunkLen::new(session::SMALL_BYTES as u32).expect("a power of two in range");

/// Begins to build the machine of a session that dials: it is ready when the peer answers.
pub(crate) fn begin(part: &mut Part, options: &Options, pool: &Pool) -> Building {
    Building::dial(config(part, options, pool, Token::default()))
}

/// Runs a session over `connection`, its lane 0, to its end.
pub(crate) fn run(
    mut part: Part,
    connection: Connection,
    setup: Setup<'_>,
    began: Began,
) -> Result<Summary, TransferError> {
    crate::priority::take(setup.options.priority);
    let (init, spare) = match began {
        Began::Dialled(machine) => return start(part, connection, setup, machine),
        Began::Called { init, spare } => (init, spare),
    };
    let token = if let Lanes::Attach(admission) = &setup.lanes { admission.token } else { Token::default() };
    let config = config(&mut part, setup.options, setup.pool, token);
    let mut machine = spare.take(&config);
    if let Err(error) = machine.admit(&init, config.token, Instant::ZERO) {
        refuse(&error, part.side(), &connection);
        return Err(TransferError::session(error, part.side(), Phase::Init));
    }
    let end = start(part, connection, setup, Building::Done(machine));
    spare.refill(&config);
    end
}

fn config(part: &mut Part, options: &Options, pool: &Pool, token: Token) -> session::Config {
    session::Config {
        roles: match part.side() {
            Side::Provider => Roles::PROVIDER,
            Side::Joiner => Roles::JOINER,
        },
        requests: u16::from(part.side() == Side::Joiner),
        member: options.member,
        cluster: options.cluster,
        transfer: options.transfer,
        epoch: longhaul_core::id::Epoch(0),
        token,
        capabilities: if options.redial { capability::ALL } else { capability::ALL & !capability::RESUME },
        integrity: options.integrity,
        lanes: options.lanes.clamp(1, (LANES - 1) as u16).min(pool.lanes()),
        fresh: !part.holds(),
        chunk: pool.chunk(),
        read_depth: 3,
        max_retries: options.max_retries.min(14),
        stall_timeout: options.stall_timeout,
        handshake_timeout: options.handshake_timeout,
        seed: seed(),
    }
}

/// Starts the first lane and the helpers while the machine is built, and drives the session.
fn start(
    part: Part,
    connection: Connection,
    setup: Setup<'_>,
    machine: Building,
) -> Result<Summary, TransferError> {
    let (options, side) = (setup.options, part.side());
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
        setup.engine,
    );
    let mut lanes: Vec<Option<LaneEnd>> = (0..LANES).map(|_| None).collect();
    lanes[0] = Some(control_lane);
    let role = part.start(options, &helpers, setup.engine);
    let driver = Driver {
        machine: machine.finish(),
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
        look_at: None,
    };
    driver.drive()
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
