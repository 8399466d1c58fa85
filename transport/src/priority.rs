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

/// Weighs 110 where an ordinary thread weighs 1024 (`sched(7)`).
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
#[expect(unsafe_code, reason = "a system call that nothing wraps")]
fn be_nice() -> bool {
    const NICE: i32 = 10;
    // SAFETY: `setpriority` takes integers and touches no memory; "who" 0 is the calling thread (setpriority(2), "C library/kernel differences").
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) == 0 }
}

/// Runs when nobody else wants to, and is set aside at once when somebody does.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
#[expect(unsafe_code, reason = "a system call that nothing wraps")]
fn be_idle() -> bool {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `sched_setscheduler` reads the parameters, which live through the call; thread 0 is the calling one (sched_setscheduler(2)).
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) == 0 }
}
