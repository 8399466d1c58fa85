//! A plan: what moves as one operation and is installed together. A machine over the reports of its
//! sessions; it alone commands install.
//!
//! A plan without sessions is done at once, and there is nothing to install.

use crate::transitions::transitions;

/// What the driver must do for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish what all sessions brought, in one step.
    Install,
    /// Publish nothing; fail the other sessions.
    Abandon,
}

transitions! {
    PLAN, "a plan";
    /// Where a plan is in its life.
    pub enum State {
        /// Sessions are under way.
        Running,
        /// All are durable; the driver installs.
        Installing,
        /// Installed, or there was nothing to install.
        Done,
        /// Something failed; nothing was installed.
        Failed,
    }
    /// What moves a plan on.
    pub enum Input {
        /// A session is durable, or has nothing to bring, and others are not.
        Durable,
        /// The last session is durable.
        AllDurable,
        /// The last session is done, and none has brought anything.
        Nothing,
        /// The driver has installed.
        Installed,
        /// A session failed, or installing did.
        Fail,
    }
    Running { Durable => Running, AllDurable => Installing, Nothing => Done, Fail => Failed, }
    Installing { Installed => Done, Fail => Failed, }
}

/// What a session has reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    None,
    Durable,
    Nothing,
}

/// A plan of at most `SESSIONS` sessions, numbered from 0.
#[derive(Clone, Debug)]
pub struct Plan<const SESSIONS: usize> {
    reports: [Report; SESSIONS],
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
        Self { reports: [Report::None; SESSIONS], sessions, state, command: None }
    }

    /// Everything that a session brought is durable.
    ///
    /// # Panics
    /// If there is no such session.
    pub fn handle_durable(&mut self, session: usize) {
        self.report(session, Report::Durable);
    }

    /// A session ended without anything to install: every request of it was refused.
    ///
    /// # Panics
    /// If there is no such session.
    pub fn handle_nothing(&mut self, session: usize) {
        self.report(session, Report::Nothing);
    }

    fn report(&mut self, session: usize, report: Report) {
        assert!(session < self.sessions, "sessions are numbered from 0");
        if self.state != State::Running {
            return;
        }
        self.reports[session] = report;
        let reports = &self.reports[..self.sessions];
        let input = if reports.contains(&Report::None) {
            Input::Durable
        } else if reports.contains(&Report::Durable) {
            self.command = Some(Command::Install);
            Input::AllDurable
        } else {
            Input::Nothing
        };
        self.advance(input);
    }

    /// A session failed, or installing did.
    pub fn handle_failed(&mut self) {
        if self.advance(Input::Fail) {
            self.command = Some(Command::Abandon);
        }
    }

    /// The driver has installed.
    ///
    /// # Panics
    /// If it was not told to.
    pub fn handle_installed(&mut self) {
        assert!(self.advance(Input::Installed), "installing answers Install");
    }

    /// Moves on, where the table has a place for it.
    fn advance(&mut self, input: Input) -> bool {
        let next = self.state.on(input);
        self.state = next.unwrap_or(self.state);
        if cfg!(debug_assertions) {
            self.invariants();
        }
        next.is_some()
    }

    /// States the machine's inequalities; a broken one is a defect of this crate.
    ///
    /// # Panics
    /// If one is broken.
    pub fn invariants(&self) {
        let all = !self.reports[..self.sessions].contains(&Report::None);
        let installs = matches!(self.state, State::Installing | State::Done);
        assert!(!installs || all, "installs only what every session has reported");
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
    fn sessions_that_bring_nothing_do_not_hold_up_the_others() {
        let mut plan = Plan::<4>::new(2);
        plan.handle_nothing(1);
        plan.handle_durable(0);
        assert_eq!(plan.poll_command(), Some(Command::Install));
        let mut plan = Plan::<4>::new(1);
        plan.handle_nothing(0);
        assert_eq!((plan.state(), plan.poll_command()), (State::Done, None));
    }

    #[test]
    fn an_empty_plan_succeeds_at_once() {
        assert_eq!(Plan::<4>::new(0).state(), State::Done);
    }
}
