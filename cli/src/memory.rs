//! How the allocator keeps memory: a service has many short threads, and little to allocate while bytes move.

/// Bytes from which on a piece comes from the system by itself and goes back to it when it is freed: what a session that has
/// ended needed, its machine above all, stays in no heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES: libc::c_int = 32 << 10;

/// Has the allocator share its memory between threads, and give back what is large. Before the first thread starts.
///
/// Unless told, glibc keeps a heap for nearly every thread (eight for each core), and raises the size from which it
/// asks the system with each piece that it frees.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "an option of the C library")]
pub(crate) fn be_frugal() {
    for (option, value) in [(libc::M_ARENA_MAX, 2), (libc::M_MMAP_THRESHOLD, OWN_PAGES)] {
        // SAFETY: it sets a number of the allocator's, which takes its own lock; no other thread runs yet.
        let taken = unsafe { libc::mallopt(option, value) };
        debug_assert_eq!(taken, 1, "an option that glibc knows");
    }
}

/// Other allocators are left as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) const fn be_frugal() {}
