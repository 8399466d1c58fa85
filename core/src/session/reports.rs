//! What a session has to say to its driver, until it is drained.

use heapless::Deque;

use super::command::{Command, Event};

/// Commands that one call can bring; those that come one by one for many items are polled instead.
const COMMANDS: usize = 48;
/// Events that wait to be drained.
const EVENTS: usize = 32;

/// Commands and events, oldest first.
#[derive(Debug, Default)]
pub(super) struct Reports {
    commands: Deque<Command, COMMANDS>,
    events: Deque<Event, EVENTS>,
}

impl Reports {
    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command).expect("commands are drained after every call");
    }

    pub(super) fn event(&mut self, event: Event) {
        // People may miss a grade when nobody drains events; the session may not fail for it.
        let _ = self.events.push_back(event);
    }

    pub(super) fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
