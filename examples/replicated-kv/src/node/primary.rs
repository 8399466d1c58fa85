//! The member that orders.

use std::sync::Arc;

use longhaul::MemberId;

use super::{Node, Options, Parts, fresh_id, store_status};
use crate::client::Desk;
use crate::door::Door;
use crate::error::Error;
use crate::home::Home;
use crate::live::Transfers;
use crate::member::{self, Feeds, Submit, SubmitError, Submitted};
use crate::order::{Orderer, Queue};
use crate::record::Operation;
use crate::store::Snapshot;

impl Node {
    /// Starts a primary: on what is in its data directory, or on nothing.
    ///
    /// # Errors
    /// If the data can't be read, or it can't listen.
    pub fn primary(options: &Options) -> Result<Self, Error> {
        let Parts { home, transfers, copies, delivery, pins, applied, stop, ended } =
            Parts::new(options, None)?;
        if home.is_behind() {
            home.stage()?.belong_to(fresh_id()?)?;
            home.commit()?;
        }
        let store = home.current()?;
        let order = store.order().ok_or(Error::NoState)?;
        transfers.provide(fresh_id()?, &store)?;
        copies.provide(fresh_id()?, &store)?;
        let failed = Arc::clone(&ended);
        let fail = Box::new(move |error| failed.tell(Err(error)));
        let orderer = Orderer::start(&store, Arc::clone(&delivery), fail)?;
        let queue = orderer.queue();
        let feeds = Feeds::new(
            Arc::clone(&home),
            Arc::clone(&transfers),
            copies,
            order,
            applied,
            orderer.queue(),
            pins,
        );
        let feeds = Arc::new(feeds);
        let desk = Arc::new(PrimaryDesk { queue, home, transfers, order, feeds: Arc::clone(&feeds) });
        let members = Arc::new(move |stream: &_| member::serve(&feeds, stream));
        let door = Door::open(&options.listening, desk, members, stop.clone())?;
        Ok(Self { door, stop, ended, orderer: Some(orderer), threads: Vec::new(), delivery })
    }
}

struct PrimaryDesk {
    queue: Arc<Queue>,
    home: Arc<Home>,
    transfers: Arc<Transfers>,
    order: MemberId,
    feeds: Arc<Feeds>,
}

impl Submit for PrimaryDesk {
    fn submit(&self, operation: Operation) -> Result<Submitted, SubmitError> {
        self.queue.submit(operation)
    }
}

impl Desk for PrimaryDesk {
    fn snapshot(&self) -> Result<Snapshot, Error> {
        self.home.current()?.snapshot()
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let mut status = vec![("role", "primary".into()), ("order", self.order.to_string())];
        if let Ok(store) = self.home.current() {
            status.extend(store_status(&store));
        }
        status.extend(self.transfers.address().map(|address| ("joiners_dial", address.to_string())));
        status.push(("held", self.transfers.held().to_string()));
        for follower in self.feeds.followers() {
            status.push(("follower", format!("{} at {}", follower.member, follower.applied)));
        }
        status
    }
}
