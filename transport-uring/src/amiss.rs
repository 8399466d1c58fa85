//! What can go amiss with an operation though nothing is wrong: it moves less than it was asked to, is interrupted, is not
//! waited for, or is the last one that its process hears of. Nothing is made to happen here but by tests, on a ring's own thread.

#[cfg(not(test))]
pub(crate) use never::{completed, cut, error};
#[cfg(test)]
pub(crate) use often::{completed, cut, error};

#[cfg(not(test))]
mod never {
    /// So many bytes are asked for, of so many.
    pub(crate) const fn cut(len: usize) -> usize {
        len
    }

    /// How the next operation completes, instead of being carried out.
    pub(crate) const fn error() -> Option<std::io::Error> {
        None
    }

    /// An operation has completed.
    pub(crate) const fn completed() {}
}

#[cfg(test)]
pub(crate) mod often {
    use std::cell::RefCell;
    use std::io;

    use nix::errno::Errno;

    /// How a ring's operations go from now on.
    #[derive(Debug, Default)]
    pub(crate) struct Plan {
        /// What the next operations complete with, the last one first.
        pub(crate) next: Vec<Errno>,
        /// What is drawn from, if a third of them all is to be short, and another third to complete otherwise than asked.
        pub(crate) random: Option<u64>,
        /// What they complete with then.
        pub(crate) passing: &'static [Errno],
        /// How many more complete before the process is killed.
        pub(crate) lives: Option<u64>,
        /// How many have completed.
        pub(crate) completed: u64,
        /// How many were interfered with.
        pub(crate) struck: usize,
    }

    thread_local! {
        static PLAN: RefCell<Plan> = RefCell::default();
    }

    /// The plan of this thread from now on; what became of the last one.
    pub(crate) fn plan(plan: Plan) -> Plan {
        PLAN.replace(plan)
    }

    impl Plan {
        fn draw(&mut self) -> Option<u64> {
            let state = self.random.as_mut()?;
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut drawn = *state;
            drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            Some(drawn ^ (drawn >> 31))
        }
    }

    pub(crate) fn cut(len: usize) -> usize {
        PLAN.with_borrow_mut(|plan| match plan.draw() {
            Some(drawn) if drawn.is_multiple_of(3) && len > 1 => {
                plan.struck += 1;
                1 + (drawn >> 8) as usize % (len - 1)
            }
            _ => len,
        })
    }

    pub(crate) fn error() -> Option<io::Error> {
        PLAN.with_borrow_mut(|plan| {
            let errno = plan.next.pop().or_else(|| {
                let drawn = plan.draw()?;
                if !drawn.is_multiple_of(3) {
                    return None;
                }
                Some(plan.passing[(drawn >> 8) as usize % plan.passing.len()])
            })?;
            plan.struck += 1;
            Some(errno.into())
        })
    }
    pub(crate) fn completed() {
        PLAN.with_borrow_mut(|plan| {
            plan.completed += 1;
            if plan.lives == Some(plan.completed) {
                std::process::abort();
            }
        });
    }
}
