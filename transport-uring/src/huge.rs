//! Huge pages for the pool: what is read and written past the page cache lies in fewer pieces, and fewer of them are looked up.

use std::fs;

use longhaul_state::pool::Region;
use nix::libc;

/// Where the pool begins, and how many bytes it has: its buffers lie one after the other.
fn extent(regions: &[Region]) -> Option<Region> {
    let (first, last) = (regions.first()?, regions.last()?);
    Some(Region { start: first.start, len: last.start + last.len - first.start })
}

/// Asks for them, for what was not touched yet. Where there are none to be had the pages are small: nothing else changes.
pub(crate) fn ask_for(regions: &[Region]) {
    let Some(pool) = extent(regions) else { return };
    let start = std::ptr::without_provenance_mut::<libc::c_void>(pool.start);
    // SAFETY: madvise(2) with this advice changes neither what the memory holds nor who may use it.
    let taken = unsafe { libc::madvise(start, pool.len, libc::MADV_HUGEPAGE) };
    if taken != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "no huge pages");
    }
}

/// How many bytes of the pool lie in huge pages.
pub(crate) fn held(regions: &[Region]) -> u64 {
    let kib = |words: &str| words.split_ascii_whitespace().next()?.parse::<u64>().ok();
    said(regions, "AnonHugePages:").iter().filter_map(|words| kib(words)).sum::<u64>() << 10
}

/// What the kernel says under this name of each mapping that the pool lies in.
fn said(regions: &[Region], name: &str) -> Vec<String> {
    let Some(pool) = extent(regions) else { return Vec::new() };
    let mappings = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let (mut is_ours, mut said) = (false, Vec::new());
    for line in mappings.lines() {
        if let Some((start, end)) = addresses(line) {
            is_ours = start < pool.start + pool.len && pool.start < end;
        } else if let Some(words) = line.strip_prefix(name).filter(|_| is_ours) {
            said.push(words.trim().to_owned());
        }
    }
    said
}

/// The addresses of a mapping, with which its first line begins.
fn addresses(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use longhaul_core::wire::ChunkLen;
    use longhaul_state::pool::{DEFAULT_MEMORY, Pool};

    use super::*;

    #[test]
    fn all_of_the_pool_and_nothing_else_may_lie_in_huge_pages() {
        if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            println!("skipped: this kernel has no huge pages to ask for");
            return;
        }
        let pool = Pool::new(DEFAULT_MEMORY, ChunkLen::DEFAULT, 1, 2);
        let (regions, share) = (pool.lay_out(), pool.share());
        ask_for(&regions);
        let mut taken: Vec<_> = regions.iter().map(|_| share.take(&|| false).unwrap()).collect();
        for buffer in &mut taken {
            buffer.fill(7);
        }
        let (flags, sizes) = (said(&regions, "VmFlags:"), said(&regions, "Size:"));
        assert!(flags.len() == 1 && flags[0].split(' ').any(|flag| flag == "hg"), "{flags:?}");
        assert_eq!(sizes, [format!("{} kB", (regions.len() * regions[0].len) >> 10)]);
        // How many there are is the machine's affair.
        println!("{} bytes in huge pages", held(&regions));
    }
}
