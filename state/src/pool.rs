//! The process's buffer pool: page-aligned, bounded, shared by all sessions and lanes.
//!
//! A buffer holds one chunk and a page more, so that a payload at its start is followed by the next
//! header. All buffers are parts of one piece of memory, which the system zeroes as far as it is touched: what nobody
//! needs costs nothing. It begins where a huge page does.
//!
//! In a pool for one session that one may have all. In a pool for several each has its part, whoever else is there: a
//! peer that stops reading keeps what was read for it until it is given up, and whoever comes then must not wait for
//! that. It is no slower for it: a few buffers in flight that stay in the processor's cache move as much as many.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use longhaul_core::wire::ChunkLen;

const PAGE: usize = 4096;
/// A huge page, as most systems have them.
const HUGE_PAGE: usize = 2 << 20;

/// The default memory for buffers: 16 MiB.
pub const DEFAULT_MEMORY: usize = 16 << 20;
/// The least memory for buffers: one session of one data lane, at the smallest usual chunk.
pub const MIN_MEMORY: usize = 1 << 20;

/// What a session needs beside its buffers: its machine, its threads, what they tell each other.
const SESSION_BYTES: usize = 512 << 10;

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
    /// What no buffer was made of yet; nothing before the first.
    rest: Option<Memory>,
    /// Each with its number.
    free: Vec<(usize, Memory)>,
    /// Where the buffers lie that were allocated, by number.
    starts: Vec<usize>,
    taken: usize,
    sessions: usize,
    /// Bytes that sessions use for tables of their own.
    charged: usize,
    /// Threads that wait for a buffer: without any, nobody need be woken.
    waiting: usize,
    /// Tasks that wait for one.
    wakers: Vec<Waker>,
}

/// Memory that nobody else has.
#[derive(Default)]
struct Memory(BytesMut);

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} bytes)", self.0.len())
    }
}

impl Pool {
    /// A pool of at most `memory` bytes (at least [`MIN_MEMORY`]) for up to `sessions` sessions of
    /// `lanes` data lanes. The chunk is as long as that allows, at most `chunk`: depth shrinks first. What
    /// sessions but the first need beside buffers is taken off, so that many need no more memory than one; at most half.
    #[must_use]
    pub fn new(memory: usize, chunk: ChunkLen, sessions: usize, lanes: u16) -> Self {
        Self::with(memory_beside(memory, sessions), chunk, sessions, lanes)
    }

    /// The same memory for the same sessions, in at most so many pools of the same size, each for its part of the sessions:
    /// one at least, with [`MIN_MEMORY`] at least.
    #[must_use]
    pub fn split(memory: usize, chunk: ChunkLen, sessions: usize, lanes: u16, parts: usize) -> Vec<Self> {
        let parts = parts.min(sessions).min(memory / MIN_MEMORY).max(1);
        let part = memory_beside(memory, sessions) / parts;
        (0..parts).map(|_| Self::with(part, chunk, sessions.div_ceil(parts), lanes)).collect()
    }

    fn with(memory: usize, chunk: ChunkLen, sessions: usize, lanes: u16) -> Self {
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

    /// Allocates all buffers that the pool may have, and says where they lie, those in use too, by number: for a
    /// transport that makes them known to the system. They lie there as long as the pool does.
    ///
    /// # Panics
    /// If the process has no memory left within the pool's bound.
    #[must_use]
    pub fn lay_out(&self) -> Vec<Region> {
        let mut state = self.0.lock();
        while state.starts.len() < self.0.capacity {
            let next = self.0.make(&mut state);
            state.free.push(next);
        }
        // Whoever can't make all of them known takes the first: those are used first.
        state.free.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        state.starts.iter().map(|start| Region { start: *start, len: self.0.buffer_len }).collect()
    }

    /// Buffers that are in use now.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.0.lock().taken
    }
}

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The address of its first byte.
    pub start: usize,
    /// Bytes in it.
    pub len: usize,
}

/// What is left for buffers: sessions but the first have their part.
fn memory_beside(memory: usize, sessions: usize) -> usize {
    let memory = memory.max(MIN_MEMORY);
    memory - (sessions.saturating_sub(1) * SESSION_BYTES).min(memory / 2)
}

const fn buffer_len(chunk: ChunkLen) -> usize {
    chunk.bytes() as usize + PAGE
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One buffer more, with its number.
    fn make(&self, state: &mut State) -> (usize, Memory) {
        let rest = state.rest.get_or_insert_with(|| self.allocate());
        let memory = Memory(rest.0.split_to(self.buffer_len));
        let number = state.starts.len();
        state.starts.push(memory.0.as_ptr().addr());
        (number, memory)
    }

    /// Memory for all buffers. Where there are few, a huge page would hold more than all of them.
    fn allocate(&self) -> Memory {
        let len = self.capacity * self.buffer_len;
        let align = if len < HUGE_PAGE { PAGE } else { HUGE_PAGE };
        let mut memory = BytesMut::zeroed(len + align);
        let start = memory.as_ptr().addr();
        let _before = memory.split_to(start.next_multiple_of(align) - start);
        memory.truncate(len);
        Memory(memory)
    }

    /// Whoever waits asks again.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let (waiting, wakers) = (state.waiting > 0, std::mem::take(&mut state.wakers));
        drop(state);
        if waiting {
            self.freed.notify_all();
        }
        for waker in wakers {
            waker.wake();
        }
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
        self.pool.wake(state);
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
            if self.may_take(&state) {
                return Some(self.take_one(state));
            }
            state.waiting += 1;
            state = pool.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// The same for a task: it is woken when it may ask again.
    ///
    /// # Panics
    /// If the process has no memory left for a buffer within the pool's bound.
    pub fn poll_take(&self, stopped: &dyn Fn() -> bool, context: &mut Context<'_>) -> Poll<Option<Buffer>> {
        let mut state = self.0.pool.lock();
        if stopped() {
            return Poll::Ready(None);
        }
        if self.may_take(&state) {
            return Poll::Ready(Some(self.take_one(state)));
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Whether one is to be had, and is within what this session may hold.
    fn may_take(&self, state: &State) -> bool {
        let pool = &self.0.pool;
        let charged = state.charged.div_ceil(pool.buffer_len).min(pool.capacity / 2);
        let capacity = (pool.capacity - charged).max(LEAST);
        let most = (capacity / pool.sessions.max(state.sessions)).max(2);
        state.taken < capacity && self.0.held.load(Ordering::Relaxed) < most
    }

    fn take_one(&self, mut state: MutexGuard<'_, State>) -> Buffer {
        state.taken += 1;
        self.0.held.fetch_add(1, Ordering::Relaxed);
        let (number, memory) = state.free.pop().unwrap_or_else(|| self.0.pool.make(&mut state));
        drop(state);
        Buffer { number, memory, share: self.clone() }
    }

    /// Charges `bytes` of a table to the pool until the session ends: there will be fewer buffers, down
    /// to the half that lanes need to move at all.
    pub fn charge(&self, bytes: usize) {
        self.0.pool.lock().charged += bytes;
        self.0.charged.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Makes those who wait for a buffer ask whether they were stopped.
    pub fn wake(&self) {
        self.0.pool.wake(self.0.pool.lock());
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
    number: usize,
    memory: Memory,
    share: Share,
}

impl Buffer {
    /// Its number among the buffers of its pool: it keeps it, and its place in memory.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Whether it is one of this pool's.
    #[must_use]
    pub fn is_of(&self, pool: &Pool) -> bool {
        Arc::ptr_eq(&self.share.0.pool, &pool.0)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let pool = &self.share.0.pool;
        let mut state = pool.lock();
        state.taken -= 1;
        state.free.push((self.number, std::mem::take(&mut self.memory)));
        self.share.0.held.fetch_sub(1, Ordering::Relaxed);
        pool.wake(state);
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
    fn buffers_that_were_laid_out_keep_their_places() {
        let pool = Pool::new(MIN_MEMORY, ChunkLen::MIN, 1, 1);
        let share = pool.share();
        let mut held = vec![share.take(&|| false).unwrap()];
        let regions = pool.lay_out();
        assert_eq!(regions.len(), MIN_MEMORY / pool.buffer_len(), "the one in use among them");
        for _ in 1..regions.len() {
            held.push(share.take(&|| false).unwrap());
        }
        for buffer in &held {
            let region = Region { start: buffer.as_ptr().addr(), len: buffer.len() };
            assert_eq!(regions[buffer.number()], region);
        }
        drop(held);
        assert_eq!(pool.lay_out(), regions);
        // One after the other, from where a huge page may begin.
        let ends = regions.iter().map(|region| region.start + region.len);
        assert!(regions[1..].iter().map(|region| region.start).eq(ends.take(regions.len() - 1)));
        let large = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 1).lay_out();
        assert!(large[0].start.is_multiple_of(HUGE_PAGE));
    }

    #[test]
    fn a_task_is_woken_by_a_buffer_that_comes_free() {
        struct Flag(AtomicUsize);

        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let pool = Pool::reserved(ChunkLen::MIN, 4);
        let (share, flag) = (pool.share(), Arc::new(Flag(AtomicUsize::new(0))));
        let waker = Waker::from(Arc::clone(&flag));
        let ask = || share.poll_take(&|| false, &mut Context::from_waker(&waker));
        let mut held: Vec<_> = (0..4).map(|_| share.take(&|| false).unwrap()).collect();
        assert!(ask().is_pending() && ask().is_pending());
        held.pop();
        assert_eq!(flag.0.load(Ordering::Relaxed), 1);
        assert!(matches!(ask(), Poll::Ready(Some(_))));
    }

    /// Takes as many as there are to be had.
    fn take_all(share: &Share) -> Vec<Buffer> {
        let mut held = Vec::new();
        while share.may_take(&share.0.pool.lock()) {
            held.extend(share.take(&|| false));
        }
        held
    }

    // Catalogue: F79
    #[test]
    fn who_comes_last_finds_what_the_others_have_though_they_give_nothing_back() {
        let pool = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 8, 2);
        let capacity = (DEFAULT_MEMORY - 7 * SESSION_BYTES) / pool.buffer_len();
        let held: Vec<_> = (0..8).map(|_| take_all(&pool.share())).collect();
        for buffers in held {
            assert_eq!(buffers.len(), capacity / 8);
        }
    }

    #[test]
    fn memory_bounds_the_buffers_and_the_chunk_shrinks_first() {
        let pool = Pool::new(16 << 20, ChunkLen::DEFAULT, 8, 2);
        assert!(pool.chunk() < ChunkLen::DEFAULT);
        assert!((16 << 20) / pool.buffer_len() >= 8 * 6);
        let held: Vec<_> = (0..8).map(|_| take_all(&pool.share())).collect();
        assert!(held.iter().all(|buffers| buffers.len() >= 6));
        assert!(pool.in_use() * pool.buffer_len() <= 16 << 20);
    }

    #[test]
    fn pools_in_parts_are_no_more_than_one_pool() {
        let one = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 8, 2);
        for parts in 1..=4 {
            let pools = Pool::split(DEFAULT_MEMORY, ChunkLen::DEFAULT, 8, 2, parts);
            let bytes = |pool: &Pool| pool.0.capacity * pool.buffer_len();
            assert_eq!(pools.len(), parts);
            assert!(pools.iter().map(bytes).sum::<usize>() <= bytes(&one));
            assert!(pools.iter().all(|pool| pool.lanes() >= one.lanes()));
        }
        let parts = |memory, sessions| Pool::split(memory, ChunkLen::DEFAULT, sessions, 2, 16).len();
        assert_eq!([parts(DEFAULT_MEMORY, 1), parts(MIN_MEMORY, 8), parts(2 * MIN_MEMORY, 8)], [1, 1, 2]);
    }

    #[test]
    fn in_a_pool_for_one_a_session_may_have_all_until_another_comes() {
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
