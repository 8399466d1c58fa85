//! The same system calls as longhaul's, without a protocol: what the machine can do at all.

pub(crate) mod memory;
pub(crate) mod relay;
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
pub(crate) mod ring;
pub(crate) mod small;

/// Bytes sent, received and written at a time: as long as longhaul's chunk.
pub(crate) const BUFFER: usize = 512 << 10;

/// A buffer with something in it.
pub(crate) fn buffer() -> Vec<u8> {
    (0..BUFFER as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
