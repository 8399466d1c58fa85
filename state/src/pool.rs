//! The process's buffer pool: page-aligned, bounded, shared by all sessions and lanes.
//!
//! A buffer holds one chunk and a page more, so that a payload at its start is followed by the next
//! header. Memory is allocated when a buffer is first needed and kept for the next. One session may
//! have all of it; when there are several, none may hold more than its share for long: what is free
//! goes to those below their share first.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use longhaul_core::wire::ChunkLen;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

const PAGE: usize = 4096;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// The default memory for buffers: 16 MiB.
pub const DEFAULT_MEMORY: usize = 16 << 20;
/// The least memory for buffers: one session of one data lane, at the smallest usual chunk.
pub const MIN_MEMORY: usize = 1 << 20;

/// Buffers that there are whatever is charged: less, and data would not move.
const LEAST: usize = 4;

/// The buffers of a process.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    buffer_len: usize,
    capacity: usize,
    /// Sessions that it was made for.
    sessions: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    free: Vec<Vec<Page>>,
    taken: usize,
    sessions: usize,
    /// Bytes that sessions use for tables of their own.
    charged: usize,
    /// Threads that wait for a buffer: without any, nobody need be woken.
    waiting: usize,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Page")
    }
}

impl Pool {
    /// A pool of at most `memory` bytes (at least [`MIN_MEMORY`]) for up to `sessions` sessions of
    /// `lanes` data lanes. The chunk is as long as that allows, at most `chunk`: depth shrinks first.
    #[must_use]
    pub fn new(memory: usize, chunk: ChunkLen, sessions: usize, lanes: u16) -> Self {
        let memory = memory.max(MIN_MEMORY);
        // Two chunks a lane, and lane 0 and a helper's on top, must fit for every session.
        let needed = sessions.max(1) * (2 * usize::from(lanes.max(1)) + 2);
        let mut chunk = chunk;
        while chunk.bytes() > 128 << 10 && needed * buffer_len(chunk) > memory {
            chunk = ChunkLen::new(chunk.bytes() / 2).unwrap_or(ChunkLen::MIN);
        }
        let buffer_len = buffer_len(chunk);
        Self(Arc::new(Shared {
            buffer_len,
            capacity: (memory / buffer_len).max(LEAST),
            sessions: sessions.max(1),
            state: Mutex::default(),
            freed: Condvar::new(),
        }))
    }

    /// A pool of `buffers` buffers for one lane's control frames and small payloads: reserved memory
    /// that no other session can use up. Pages are touched only as far as they are needed.
    #[must_use]
    pub fn reserved(chunk: ChunkLen, buffers: usize) -> Self {
        Self(Arc::new(Shared {
            buffer_len: buffer_len(chunk),
            capacity: buffers,
            sessions: 1,
            state: Mutex::default(),
            freed: Condvar::new(),
        }))
    }

    /// The longest chunk that a buffer holds.
    #[must_use]
    pub fn chunk(&self) -> ChunkLen {
        ChunkLen::new((self.0.buffer_len - PAGE) as u32).unwrap_or(ChunkLen::MIN)
    }

    /// Data lanes that each session can have: every lane's reader holds a buffer even when nothing
    /// comes, and as many again must be free to move.
    #[must_use]
    pub fn lanes(&self) -> u16 {
        let share = self.0.capacity / self.0.sessions;
        u16::try_from((share.saturating_sub(2) / 2).max(1)).unwrap_or(u16::MAX)
    }

    /// Bytes in a buffer: a chunk and a page.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        self.0.buffer_len
    }

    /// A session's access to the pool.
    #[must_use]
    pub fn share(&self) -> Share {
        self.0.lock().sessions += 1;
        let (held, charged) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Share(Arc::new(ShareInner { pool: Arc::clone(&self.0), held, charged }))
    }

    /// Buffers that are in use now.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.lock().taken
    }
}

const fn buffer_len(chunk: ChunkLen) -> usize {
    chunk.bytes() as usize + PAGE
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's access to the pool: clones share one account.
#[derive(Clone, Debug)]
pub struct Share(Arc<ShareInner>);

#[derive(Debug)]
struct ShareInner {
    pool: Arc<Shared>,
    held: AtomicUsize,
    charged: AtomicUsize,
}

impl Drop for ShareInner {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.sessions -= 1;
        state.charged -= self.charged.load(Ordering::Relaxed);
        drop(state);
        self.pool.freed.notify_all();
    }
}

impl Share {
    /// Waits for a buffer; `None` once `stopped` answers true. It is asked again whenever a buffer
    /// comes free or [`Share::wake`] is called.
    ///
    /// # Panics
    /// If the process has no memory left for a buffer within the pool's bound.
    #[must_use]
    pub fn take(&self, stopped: &dyn Fn() -> bool) -> Option<Buffer> {
        let pool = &self.0.pool;
        let mut state = pool.lock();
        loop {
            if stopped() {
                return None;
            }
            let charged = state.charged.div_ceil(pool.buffer_len).min(pool.capacity / 2);
            let capacity = (pool.capacity - charged).max(LEAST);
            let fair = (capacity / state.sessions.max(1)).max(2);
            if state.taken < capacity && self.0.held.load(Ordering::Relaxed) < fair {
                break;
            }
            state.waiting += 1;
            state = pool.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.taken += 1;
        self.0.held.fetch_add(1, Ordering::Relaxed);
        let pages = state.free.pop();
        drop(state);
        // Zeroed by the system: pages that nobody touches cost no memory.
        let pages = pages.unwrap_or_else(|| {
            Page::new_vec_zeroed(pool.buffer_len / PAGE).expect("a buffer fits into the address space")
        });
        Some(Buffer { pages, share: self.clone() })
    }

    /// Charges `bytes` of a table to the pool until the session ends: there will be fewer buffers, down
    /// to the half that lanes need to move at all.
    pub fn charge(&self, bytes: usize) {
        self.0.pool.lock().charged += bytes;
        self.0.charged.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Makes those who wait for a buffer ask whether they were stopped.
    pub fn wake(&self) {
        drop(self.0.pool.lock());
        self.0.pool.freed.notify_all();
    }

    /// Bytes in a buffer.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        self.0.pool.buffer_len
    }
}

/// A buffer of the pool; it goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    pages: Vec<Page>,
    share: Share,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.as_bytes()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.pages.as_mut_bytes()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let pool = &self.share.0.pool;
        let mut state = pool.lock();
        state.taken -= 1;
        state.free.push(std::mem::take(&mut self.pages));
        self.share.0.held.fetch_sub(1, Ordering::Relaxed);
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            pool.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_page_aligned_and_come_back() {
        let pool = Pool::new(MIN_MEMORY, ChunkLen::MIN, 1, 1);
        let share = pool.share();
        let first = share.take(&|| false).unwrap();
        assert!(first.as_ptr().addr().is_multiple_of(PAGE));
        assert_eq!((first.len(), pool.in_use()), (4096 + PAGE, 1));
        drop(first);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn memory_bounds_the_buffers_and_the_chunk_shrinks_first() {
        let pool = Pool::new(16 << 20, ChunkLen::DEFAULT, 8, 2);
        assert!(pool.chunk() < ChunkLen::DEFAULT);
        let share = pool.share();
        let mut held = Vec::new();
        while let Some(buffer) = share.take(&|| held.len() * pool.buffer_len() + pool.buffer_len() > 16 << 20)
        {
            held.push(buffer);
        }
        assert!(held.len() >= 8 * 6);
        assert!(pool.in_use() * pool.buffer_len() <= 16 << 20);
    }

    #[test]
    fn a_session_may_have_all_until_another_comes() {
        let pool = Pool::new(MIN_MEMORY, ChunkLen::MIN, 1, 1);
        let (one, capacity) = (pool.share(), MIN_MEMORY / pool.buffer_len());
        let held: Vec<_> = (0..capacity / 2).map(|_| one.take(&|| false).unwrap()).collect();
        let two = pool.share();
        // At its fair share now: `one` gets no more, `two` does.
        let asked = AtomicUsize::new(0);
        assert!(two.take(&|| false).is_some());
        assert!(
            one.take(&|| asked.fetch_add(1, Ordering::Relaxed) > 0 || held.len() == capacity / 2).is_none()
        );
    }

    #[test]
    fn tables_are_charged_until_their_session_ends() {
        let pool = Pool::new(MIN_MEMORY, ChunkLen::MIN, 1, 1);
        let (one, two) = (pool.share(), pool.share());
        one.charge(MIN_MEMORY);
        // Half of the buffers are left, and half of those are its share.
        let share = MIN_MEMORY / pool.buffer_len() / 4;
        let held: Vec<_> = (0..share).map(|_| two.take(&|| false).unwrap()).collect();
        let asked = AtomicUsize::new(0);
        let gives_up = || asked.fetch_add(1, Ordering::Relaxed) > 0;
        two.0.pool.freed.notify_all();
        assert!(std::thread::scope(|scope| {
            let waiting = scope.spawn(|| two.take(&gives_up));
            while asked.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            // Woken until it asks again: it may not be asleep yet.
            while !waiting.is_finished() {
                two.wake();
            }
            waiting.join().unwrap().is_none()
        }));
        drop(one);
        assert!(two.take(&|| false).is_some());
        drop(held);
    }

    #[test]
    fn little_memory_means_fewer_lanes() {
        assert_eq!(Pool::new(MIN_MEMORY, ChunkLen::DEFAULT, 1, 8).lanes(), 2);
        assert_eq!(Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 8, 2).lanes(), 2);
        assert!(Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 8).lanes() >= 8);
    }
}
