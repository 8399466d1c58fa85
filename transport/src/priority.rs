//! How a thread competes with others for processors.

use longhaul_state::transfer::Priority;

/// The calling thread has this priority from now on; where the system refuses, it competes as all do.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
pub(crate) fn take(priority: Priority) {
    let taken = match priority {
        Priority::Normal => true,
        Priority::Low => be_nice(),
        Priority::Idle => be_idle(),
    };
    if !taken {
        tracing::debug!(error = %std::io::Error::last_os_error(), "a thread's priority stays as it is");
    }
}

#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
pub(crate) fn take(_priority: Priority) {}

/// Weighs 110 where an ordinary thread weighs 1024 (`sched(7)`), and asks for long slices: whoever asks for shorter ones, as all
/// do that ask for none, takes its processor at once when he wakes (Linux 6.12 and later; before, at the end of a slice).
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
fn be_nice() -> bool {
    const NICE: i32 = 10;
    /// The longest that may be asked for.
    const SLICE_NS: u64 = 100_000_000;
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: NICE,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    schedule(&attributes) || renice(NICE)
}

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
#[expect(unsafe_code, reason = "a system call that nothing wraps")]
fn schedule(attributes: &libc::sched_attr) -> bool {
    let (this_thread, flags) = (0, 0);
    // SAFETY: `sched_setattr` reads as many bytes of the attributes as they say they have, and they live through the call (sched_setattr(2)).
    unsafe { libc::syscall(libc::SYS_sched_setattr, this_thread, std::ptr::from_ref(attributes), flags) == 0 }
}

/// Where the other call is filtered.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
#[expect(unsafe_code, reason = "a system call that nothing wraps")]
fn renice(nice: i32) -> bool {
    // SAFETY: `setpriority` takes integers and touches no memory; "who" 0 is the calling thread (setpriority(2), "C library/kernel differences").
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) == 0 }
}

/// Runs when nobody else wants to, and is set aside at once when somebody does.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
#[expect(unsafe_code, reason = "a system call that nothing wraps")]
fn be_idle() -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `sched_setscheduler` reads the parameters, which live through the call; thread 0 is the calling one (sched_setscheduler(2)).
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) == 0 }
}
