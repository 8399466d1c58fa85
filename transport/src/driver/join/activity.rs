//! Whether the disks move.

/// A number that grows while the system reads from disks or writes to them: `pgpgin` and `pgpgout` of
/// `/proc/vmstat`. `None` where there is no such thing.
pub(super) fn activity() -> Option<u64> {
    if cfg!(all(target_os = "linux", not(longhaul_portable))) {
        let counters = std::fs::read_to_string("/proc/vmstat").ok()?;
        let counter = |name| -> Option<u64> {
            counters.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
        };
        Some(counter("pgpgin ")?.wrapping_add(counter("pgpgout ")?))
    } else {
        None
    }
}
