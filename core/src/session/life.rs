//! Where a session, its two directions and its tasks are: the declared transitions of all that is
//! larger than an item.

use crate::transitions::transitions;

transitions! {
    LIFE, "a session";
    /// Where a session is in its life.
    pub(super) enum Life {
        /// Who is who.
        Greeting,
        /// Both know each other; each direction goes its own way.
        Open,
        /// The connection was lost: the dialler dials again, the listener waits for it.
        Reconnecting,
        /// Everything that was to move has moved and is installed, as this side knows.
        Done,
        /// Provider: all was sent, and whether it was installed is not known.
        Unconfirmed,
        /// It failed, and stays failed.
        Failed,
    }
    /// What moves a session on.
    pub(super) enum LifeInput {
        /// Init or Welcome fits.
        Greet,
        /// Lane 0, or the last data lane, was lost.
        Lose,
        /// A later epoch of the same session stands.
        Resume,
        /// Both directions are over.
        Finish,
        /// Given up without knowing the joiner's verdict.
        Doubt,
        /// A broken rule, a deadline, the peer's or this side's failure.
        Fail,
    }
    Greeting { Greet => Open, Fail => Failed, }
    Open { Lose => Reconnecting, Finish => Done, Doubt => Unconfirmed, Fail => Failed, }
    Reconnecting { Resume => Open, Finish => Done, Doubt => Unconfirmed, Fail => Failed, }
}

transitions! {
    GIVING, "what a session gives";
    /// Where the direction is in which this side provides.
    pub(super) enum GivingState {
        /// Requests are awaited, surveyed, announced.
        Preparing,
        /// A task streams, or has streamed.
        Streaming,
        /// The joiner agrees with every task: it makes them durable and installs.
        Completed,
        /// Installed at the joiner, or there was nothing to give.
        Over,
    }
    /// What moves it on.
    pub(super) enum GivingInput {
        /// The first task streams.
        Stream,
        /// The last task is settled, one at least was sent.
        AllAgreed,
        /// The last task is settled, and nothing was sent.
        Nothing,
        /// The joiner said that it has installed.
        Installed,
    }
    Preparing { Stream => Streaming, AllAgreed => Completed, Nothing => Over, }
    Streaming { AllAgreed => Completed, }
    Completed { Installed => Over, }
}

transitions! {
    TAKING, "what a session takes";
    /// Where the direction is in which this side joins.
    pub(super) enum TakingState {
        /// Requests are sent, tasks announced, preflight runs.
        Preparing,
        /// A task streams, or has streamed.
        Streaming,
        /// Every task's root was compared; everything is made durable.
        Agreed,
        /// Everything is durable: the plan decides.
        Durable,
        /// The plan installs. Whatever becomes of the peer now, its outcome decides.
        Installing,
        /// Installed, or there was nothing to take.
        Over,
    }
    /// What moves it on.
    pub(super) enum TakingInput {
        /// The first task may stream.
        Stream,
        /// The last task is settled, one at least has come.
        AllAgreed,
        /// The last task is settled, and nothing has come.
        Nothing,
        /// Everything is durable.
        Durable,
        /// The plan installs.
        Install,
        /// It has installed.
        Installed,
    }
    Preparing { Stream => Streaming, AllAgreed => Agreed, Nothing => Over, }
    Streaming { AllAgreed => Agreed, }
    Agreed { Durable => Durable, }
    Durable { Install => Installing, }
    Installing { Installed => Over, }
}

transitions! {
    TASK_OUT, "a task at its provider";
    /// Where a task is at its provider.
    pub(super) enum TaskOut {
        /// Its request is awaited.
        Awaited,
        /// Requested: it is surveyed.
        Surveying,
        /// Announced: preflight is awaited, unless it is small.
        Announced,
        /// The joiner is ready.
        Begun,
        /// Its items move.
        Streaming,
        /// All items are verified: count, bytes and root are summed up.
        Summing,
        /// Complete is sent, or about to be.
        Completed,
        /// The joiner has the same.
        Agreed,
        /// It will not be sent.
        Refused,
    }
    /// What moves it on.
    pub(super) enum TaskOutInput {
        /// Its request.
        Request,
        /// A request that says the joiner agreed before the connection was lost.
        Known,
        /// The survey is done.
        Announce,
        /// The driver refuses it.
        Refuse,
        /// The joiner's preflight passed.
        Begin,
        /// Its turn has come.
        Walk,
        /// All items are verified.
        SumUp,
        /// Count, bytes and root are known.
        Complete,
        /// The joiner has the same.
        Agree,
    }
    Awaited { Request => Surveying, }
    Surveying { Request => Surveying, Announce => Announced, Refuse => Refused, }
    Announced { Request => Announced, Announce => Announced, Begin => Begun, Walk => Streaming, }
    Begun { Request => Begun, Announce => Begun, Begin => Begun, Walk => Streaming, }
    Streaming { Request => Streaming, Announce => Streaming, Begin => Streaming, SumUp => Summing, }
    Summing { Request => Summing, Announce => Summing, Begin => Summing, Complete => Completed, }
    Completed {
        Request => Completed, Known => Agreed, Announce => Completed, Begin => Completed, Agree => Agreed,
    }
    Agreed { Known => Agreed, }
    Refused { Request => Refused, Refuse => Refused, }
}

transitions! {
    TASK_IN, "a task at its joiner";
    /// Where a task is at its joiner.
    pub(super) enum TaskIn {
        /// Its request is sent, or about to be.
        Requested,
        /// Announced: its digest comes.
        Announced,
        /// Preflight runs. A small task's items may come already.
        Preflight,
        /// Ready: its items come when its turn does.
        Begun,
        /// All items have come; count, bytes and root are compared.
        Comparing,
        /// This side has the same as the provider.
        Agreed,
        /// The provider will not send it.
        Refused,
    }
    /// What moves it on.
    pub(super) enum TaskInInput {
        /// The provider will send it.
        Announce,
        /// Its digest is whole.
        Digested,
        /// Preflight has passed.
        Begin,
        /// The provider has sent everything.
        Complete,
        /// Count, bytes and root are the same.
        Agree,
        /// The provider will not send it.
        Refuse,
    }
    Requested { Announce => Announced, Refuse => Refused, }
    Announced { Announce => Announced, Digested => Preflight, }
    Preflight { Announce => Preflight, Digested => Preflight, Begin => Begun, }
    Begun { Announce => Begun, Digested => Begun, Complete => Comparing, }
    Comparing { Announce => Comparing, Digested => Comparing, Complete => Comparing, Agree => Agreed, }
    Agreed { Complete => Agreed, }
    Refused { Refuse => Refused, }
}
