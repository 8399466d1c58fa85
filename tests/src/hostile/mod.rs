//! Peers that break the rules: one that speaks frames by hand, and a proxy that alters bytes.
//!
//! ```text
//! joiner under test ──▶ Peer        a script sends what no provider would
//! Peer ──▶ provider under test      or what no joiner would
//! joiner ──▶ Proxy ──▶ provider     both real; the bytes between them are recorded, or one bit flips
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, SnapshotId, TaskId, Token, TransferId};
use longhaul_core::integrity::{Integrity, crc32c};
use longhaul_core::reason::{Reason, Side};
use longhaul_core::session::capability;
use longhaul_core::wire::{
    Attach, ChunkLen, FRAME_MAX, Flags, Frame, HEADER_LEN, Header, Init, Kind, Request, Roles, Task, Welcome,
};

use crate::between::{Between, Watch};
pub use crate::between::{Meddle, Meddling, Toward};

/// A peer that says what a script wants. What it can't send any more is lost without a word.
#[derive(Debug)]
pub struct Peer(TcpStream);

impl Peer {
    /// Takes a connection; reads give up after half a minute.
    ///
    /// # Panics
    /// If the connection is none.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self(stream)
    }

    /// Dials a listener under test.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn dial(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).expect("somebody listens"))
    }

    /// Dials a further lane to the same side.
    ///
    /// # Panics
    /// If nobody listens any more.
    #[must_use]
    pub fn lane(&self, token: Token, lane: u16) -> Self {
        let mut peer = Self::dial(self.0.peer_addr().expect("it is connected"));
        peer.send(&Frame::Attach(Attach { token, lane: Lane(lane) }));
        peer
    }

    /// Sends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // The other side may have hung up already: that is its right.
        let _ = self.0.write_all(bytes);
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// If it can't be encoded.
    pub fn send(&mut self, frame: &Frame<'_>) {
        let mut out = [0; FRAME_MAX];
        let len = frame.emit(&mut out).expect("any frame fits");
        self.bytes(&out[..len]);
    }

    /// Sends a frame, and tells whether the other side still takes any.
    ///
    /// # Panics
    /// If it can't be encoded.
    pub fn try_send(&mut self, frame: &Frame<'_>) -> bool {
        let mut out = [0; FRAME_MAX];
        let len = frame.emit(&mut out).expect("any frame fits");
        self.0.write_all(&out[..len]).is_ok()
    }

    /// Sends a frame whose body no encoder would write, with checksums that hold.
    pub fn raw(&mut self, kind: Kind, flags: Flags, item: u32, body: &[u8]) {
        let len = body.len() as u32;
        let header = Header {
            kind,
            flags,
            task: TaskId(0),
            len,
            item: ItemId(item),
            offset: 0,
            body_crc: crc32c(body),
        };
        self.bytes(&header.to_bytes());
        self.bytes(body);
    }

    /// Sends content with its checksum.
    pub fn data(&mut self, item: u32, offset: u64, bytes: &[u8]) {
        let (len, crc) = (bytes.len() as u32, Some(crc32c(bytes)));
        self.send(&Frame::Data { id: ItemId(item), attempt: 0, offset, len, run_end: true, crc });
        self.bytes(bytes);
    }

    /// The next frame's header and body; `None` if no more comes.
    ///
    /// # Panics
    /// If it is none.
    pub fn read(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut head = [0; HEADER_LEN];
        self.0.read_exact(&mut head).ok()?;
        let header = Header::parse(&head).expect("the side under test speaks the protocol");
        let mut body = vec![0; header.len as usize];
        self.0.read_exact(&mut body).ok()?;
        Some((header, body))
    }

    /// Reads until a frame of this kind comes.
    ///
    /// # Panics
    /// If it does not.
    pub fn until(&mut self, kind: Kind) -> (Header, Vec<u8>) {
        loop {
            let read = self.read().unwrap_or_else(|| panic!("no {kind} frame came"));
            if read.0.kind == kind {
                return read;
            }
        }
    }

    /// Reads to the word of a failure, or to the end, and hangs up by being dropped.
    pub fn last_word(&mut self) -> Option<(Reason, Side)> {
        while let Some((header, body)) = self.read() {
            if let Ok(Frame::Failed(failed)) = Frame::parse(&header, &body) {
                return Some((failed.reason, failed.side));
            }
        }
        None
    }

    /// Says that nothing more comes.
    pub fn finish(&mut self) {
        // It may be gone already.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// As a provider: answers Init and Request, and announces `task`.
    pub fn provide(&mut self, task: &Task<'_>) {
        self.until(Kind::Init);
        self.send(&Frame::Welcome(welcome()));
        self.until(Kind::Request);
        self.send(&Frame::Task(*task));
    }

    /// As a joiner: says Init, requests, and returns the token for further lanes.
    ///
    /// # Panics
    /// If it is not welcome.
    pub fn join(&mut self) -> Token {
        self.send(&Frame::Init(init()));
        let (header, body) = self.until(Kind::Welcome);
        let Ok(Frame::Welcome(welcome)) = Frame::parse(&header, &body) else { panic!("it is a Welcome") };
        self.send(&Frame::Prepare { requests: 1 });
        self.send(&Frame::Request(request()));
        welcome.token
    }
}

/// A joiner's Init.
#[must_use]
pub const fn init() -> Init {
    Init {
        versions: (1, 1),
        roles: Roles::JOINER,
        capabilities: capability::ALL & !capability::RESUME,
        member: MemberId([66; 16]),
        cluster: ClusterId([0; 16]),
        transfer: TransferId([9; 16]),
        epoch: Epoch(0),
    }
}

/// A provider's Welcome.
#[must_use]
pub const fn welcome() -> Welcome {
    Welcome {
        version: 1,
        roles: Roles::PROVIDER,
        // It does not resume: a session with it fails with its connection.
        capabilities: capability::ALL & !capability::RESUME,
        member: MemberId([66; 16]),
        cluster: ClusterId([0; 16]),
        epoch: Epoch(0),
        token: Token([5; 16]),
    }
}

/// A joiner's Request.
#[must_use]
pub const fn request() -> Request<'static> {
    Request {
        integrity: Integrity::Crc32c,
        fresh: true,
        agreed: false,
        lanes: 1,
        chunk: ChunkLen::DEFAULT,
        state_id: b"",
        selector: b"",
    }
}

/// A small directory of this many items and bytes, all of it on lane 0.
#[must_use]
pub const fn small(items: u64, bytes: u64) -> Task<'static> {
    Task {
        integrity: Integrity::Crc32c,
        shape: 0,
        small: true,
        lanes: 0,
        chunk: ChunkLen::DEFAULT,
        items,
        bytes: Some(bytes),
        allocated: bytes,
        longest_name: 0,
        snapshot: SnapshotId([1; 16]),
        digest_members: 0,
        app_meta: b"",
    }
}

/// Stands between a dialler and a listener, and records what both say on all their connections.
#[derive(Debug)]
pub struct Proxy {
    between: Between,
    record: Arc<Record>,
}

/// What each connection carried: to the dialler, and to the listener.
#[derive(Debug, Default)]
struct Record(Mutex<Vec<[Vec<u8>; 2]>>);

impl Watch for Record {
    fn carried(&self, connection: usize, toward: Toward, bytes: &[u8]) {
        let mut record = self.0.lock().expect("a record does not panic");
        if record.len() <= connection {
            record.resize_with(connection + 1, Default::default);
        }
        record[connection][usize::from(toward == Toward::Listener)].extend_from_slice(bytes);
    }
}

impl Proxy {
    /// A proxy before the member that listens at `listening`.
    ///
    /// # Panics
    /// If there is no address for it.
    #[must_use]
    pub fn new(listening: SocketAddr, meddling: &[Meddling]) -> Self {
        let record = Arc::new(Record::default());
        let watch: Arc<dyn Watch> = Arc::clone(&record) as Arc<dyn Watch>;
        let between = Between::new(listening, meddling, watch).expect("a free port");
        Self { between, record }
    }

    /// Where to dial.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.between.address()
    }

    /// Takes no more connections, waits for the end of those that stand, and tells what each carried: to
    /// the dialler, and to the listener.
    ///
    /// # Panics
    /// If a thread of it has.
    #[must_use]
    pub fn recorded(self) -> Vec<[Vec<u8>; 2]> {
        self.between.finish();
        std::mem::take(&mut self.record.0.lock().expect("a record does not panic"))
    }
}
