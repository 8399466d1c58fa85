//! A plan: what moves as one operation and is installed together. A machine over the reports of its
//! sessions; it alone commands install.
//!
//! | state | input | next | command |
//! | --- | --- | --- | --- |
//! | Running | durable, not of the last session | Running | |
//! | Running | durable, of the last session | Installing | Install |
//! | Running, Installing | failed, or install failed | Failed | Abandon |
//! | Installing | installed | Done | |
//! | Done, Failed | any | the same | |
//!
//! A plan without sessions is done at once, and there is nothing to install.

/// What the driver must do for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish what all sessions brought, in one step.
    Install,
    /// Publish nothing; fail the other sessions.
    Abandon,
}

/// Where a plan is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Sessions are under way.
    Running,
    /// All are durable; the driver installs.
    Installing,
    /// Installed.
    Done,
    /// Something failed; nothing was installed.
    Failed,
}

/// A plan of at most `SESSIONS` sessions, numbered from 0.
#[derive(Clone, Debug)]
pub struct Plan<const SESSIONS: usize> {
    durable: [bool; SESSIONS],
    sessions: usize,
    state: State,
    command: Option<Command>,
}

impl<const SESSIONS: usize> Plan<SESSIONS> {
    /// A plan of `sessions` sessions.
    ///
    /// # Panics
    /// If `sessions` is more than `SESSIONS`.
    #[must_use]
    pub const fn new(sessions: usize) -> Self {
        assert!(sessions <= SESSIONS, "a plan has at most SESSIONS sessions");
        let state = if sessions == 0 { State::Done } else { State::Running };
        Self { durable: [false; SESSIONS], sessions, state, command: None }
    }

    /// Everything that a session brought is durable.
    ///
    /// # Panics
    /// If there is no such session.
    pub fn handle_durable(&mut self, session: usize) {
        assert!(session < self.sessions, "sessions are numbered from 0");
        if self.state != State::Running {
            return;
        }
        self.durable[session] = true;
        if self.durable[..self.sessions].iter().all(|durable| *durable) {
            self.state = State::Installing;
            self.command = Some(Command::Install);
        }
    }

    /// A session failed, or installing did.
    pub fn handle_failed(&mut self) {
        if matches!(self.state, State::Running | State::Installing) {
            self.state = State::Failed;
            self.command = Some(Command::Abandon);
        }
    }

    /// The driver has installed.
    ///
    /// # Panics
    /// If it was not told to.
    pub fn handle_installed(&mut self) {
        assert!(self.state == State::Installing, "installing answers Install");
        self.state = State::Done;
    }

    /// The next thing to do.
    pub const fn poll_command(&mut self) -> Option<Command> {
        self.command.take()
    }

    /// Where the plan is in its life.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installs_once_and_only_when_every_session_is_durable() {
        let mut plan = Plan::<4>::new(2);
        plan.handle_durable(0);
        plan.handle_durable(0);
        assert_eq!(plan.poll_command(), None);
        plan.handle_durable(1);
        assert_eq!(plan.poll_command(), Some(Command::Install));
        assert_eq!(plan.poll_command(), None);
        plan.handle_installed();
        plan.handle_failed();
        assert_eq!((plan.state(), plan.poll_command()), (State::Done, None));
    }

    #[test]
    fn a_failed_session_installs_nothing_for_ever() {
        let mut plan = Plan::<4>::new(2);
        plan.handle_durable(0);
        plan.handle_failed();
        assert_eq!(plan.poll_command(), Some(Command::Abandon));
        plan.handle_durable(1);
        assert_eq!((plan.state(), plan.poll_command()), (State::Failed, None));
    }

    #[test]
    fn an_empty_plan_succeeds_at_once() {
        assert_eq!(Plan::<4>::new(0).state(), State::Done);
    }
}
