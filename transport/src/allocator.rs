//! How the allocator keeps memory: a process that moves states has many short threads, and pieces that come and go. To be
//! called before the first thread starts; other allocators than glibc's are left as they are.

/// All threads share so many heaps.
///
/// Unless told, glibc keeps one for nearly every thread, eight for each core, and each keeps what is freed in it behind
/// anything that is not: what pieces of a state and the pages of an engine leave in so many of them becomes several times
/// what is needed at once.
pub fn share_heaps(heaps: u16) {
    system::set_heaps(heaps.into());
}

/// What is as long as this, in bytes, comes from the system by itself, and goes back to it when it is freed.
///
/// Unless told, glibc raises this size with each piece that it frees. Each piece costs calls of the system and fresh pages:
/// it is for those who need few.
pub fn give_back(from_bytes: u32) {
    system::set_own_pages(from_bytes.min(OWN_PAGES_MAX).cast_signed());
}

/// glibc takes no larger size, in bytes.
const OWN_PAGES_MAX: u32 = 32 << 20;

#[cfg(all(target_os = "linux", target_env = "gnu", not(longhaul_portable)))]
mod system {
    pub(super) fn set_heaps(heaps: i32) {
        set(libc::M_ARENA_MAX, heaps);
    }

    pub(super) fn set_own_pages(from_bytes: i32) {
        set(libc::M_MMAP_THRESHOLD, from_bytes);
    }

    #[expect(unsafe_code, reason = "an option of the C library")]
    fn set(option: i32, value: i32) {
        // SAFETY: it sets a number of the allocator's, under the allocator's own lock (mallopt(3)).
        let taken = unsafe { libc::mallopt(option, value) };
        debug_assert_eq!(taken, 1, "an option that glibc knows");
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(longhaul_portable))))]
mod system {
    pub(super) const fn set_heaps(_heaps: i32) {}

    pub(super) const fn set_own_pages(_from_bytes: i32) {}
}
