//! A member that follows, and joins where it can't.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use longhaul::MemberId;

use super::{Ended, JoinBy, Node, Options, Parts, Upstream, fresh_id, lock, store_status};
use crate::applied::Applied;
use crate::client::Desk;
use crate::door::Door;
use crate::error::Error;
use crate::home::Home;
use crate::live::{Delivery, Transfers};
use crate::member::{self, Follower, Following, Link, Submit, SubmitError, Submitted};
use crate::record::Operation;
use crate::stop::Stop;
use crate::store::Snapshot;

/// How long a client waits for what it wrote to be here too.
const HERE: Duration = Duration::from_secs(2);
/// The pause before who could not join tries again.
const REJOIN: Duration = Duration::from_millis(500);

impl Node {
    /// Starts a replica: on what is in its data directory, or by a live transfer.
    ///
    /// # Errors
    /// If the data can't be read, or it can't listen. Who can't be reached is dialled until it is there.
    pub fn replica(options: &Options, upstream: &Upstream) -> Result<Self, Error> {
        let Parts { home, transfers, copies, delivery, applied, stop, ended, .. } =
            Parts::new(options, Some(&upstream.primary))?;
        if let Ok(store) = home.current() {
            applied.advance(store.applied());
            transfers.provide(fresh_id()?, &store)?;
            copies.provide(fresh_id()?, &store)?;
        }
        let member = fresh_id()?;
        let following = Arc::new(Mutex::new(Following::default()));
        let joining = Arc::new(Mutex::new(String::new()));
        let desk = Arc::new(ReplicaDesk {
            link: Link::new(upstream.primary.clone(), member, stop.clone()),
            applied,
            home: Arc::clone(&home),
            transfers: Arc::clone(&transfers),
            primary: upstream.primary.clone(),
            following: Arc::clone(&following),
            joining: Arc::clone(&joining),
        });
        let (doors_home, doors_transfers) = (Arc::clone(&home), Arc::clone(&transfers));
        let members =
            Arc::new(move |stream: &_| member::introduce(&doors_home, &doors_transfers, &copies, stream));
        let door = Door::open(&options.listening, desk, members, stop.clone())?;
        let primary = upstream.primary.clone();
        let follower =
            Follower { primary, member, delivery: Arc::clone(&delivery), following, stop: stop.clone() };
        let joiner = Joiner {
            upstream: upstream.clone(),
            delivery: Arc::clone(&delivery),
            joining,
            stop: stop.clone(),
        };
        let mut node = Self { door, stop, ended, orderer: None, threads: Vec::new(), delivery };
        node.run("follower", move |ended| ended.tell(follower.run()))?;
        node.run("joiner", move |_| joiner.run())?;
        Ok(node)
    }

    fn run(&mut self, name: &str, work: impl FnOnce(&Ended) + Send + 'static) -> Result<(), Error> {
        let ended = Arc::clone(&self.ended);
        let spawned = thread::Builder::new().name(name.into()).spawn(move || work(&ended));
        self.threads.push(spawned.map_err(Error::io("starting a thread"))?);
        Ok(())
    }
}

/// Gets a state whenever there is none that can be gone on with.
struct Joiner {
    upstream: Upstream,
    delivery: Arc<Delivery>,
    /// Hears why it could not, for people.
    joining: Arc<Mutex<String>>,
    stop: Stop,
}

impl Joiner {
    fn run(&self) {
        let home = &self.delivery.home;
        while home.wait_until(true).is_some() && !self.stop.is_stopped() {
            let joined = match self.upstream.join_by {
                JoinBy::Live => self.by_live(),
                JoinBy::Copy => self.by_copy(),
            };
            match joined {
                Ok(()) => lock(&self.joining).clear(),
                Err(error) => {
                    *lock(&self.joining) = error.to_string();
                    // Told to stop, the loop ends.
                    let _ = self.stop.pause(REJOIN);
                }
            }
        }
    }

    /// By a live transfer.
    fn by_live(&self) -> Result<(), Error> {
        let Delivery { transfers, copies, home, .. } = &*self.delivery;
        copies.stop();
        let member = fresh_id()?;
        let (order, providers) = self.providers(member)?;
        *lock(&self.joining) = format!("from {}", providers.join(", "));
        transfers.join(member, order, &providers)?;
        // Nothing is delivered while it begins to make copies.
        let live = transfers.member()?;
        let _turn = live.turn();
        copies.provide(fresh_id()?, &*home.current()?)
    }

    /// By a copy of one place of the order.
    fn by_copy(&self) -> Result<(), Error> {
        let Delivery { transfers, copies, home, .. } = &*self.delivery;
        // Who joins anew gives nothing of what it had, and delivers nothing.
        transfers.stop();
        let Upstream { primary, providers, .. } = &self.upstream;
        *lock(&self.joining) = "by a copy of one place of the order".into();
        copies.join(fresh_id()?, primary, providers, &self.stop)?;
        let provided = fresh_id().and_then(|member| transfers.provide(member, &*home.current()?));
        // Without a member nothing is delivered: another state is had.
        provided.inspect_err(|_| home.fall_behind())
    }

    /// Whose records there are to be had, and where those give their state who have them and can be reached now. The
    /// primary must be: the log behind the state is there.
    fn providers(&self, member: MemberId) -> Result<(MemberId, Vec<String>), Error> {
        let Upstream { primary, providers, .. } = &self.upstream;
        let (last, order) = member::where_joiners_dial(primary, member)?;
        let others = providers.iter().filter_map(|address| member::where_joiners_dial(address, member).ok());
        let theirs = others.filter(|(_, theirs)| *theirs == order).map(|(address, _)| address);
        Ok((order, theirs.chain([last]).map(|address| address.to_string()).collect()))
    }
}

struct ReplicaDesk {
    link: Link,
    applied: Applied,
    home: Arc<Home>,
    transfers: Arc<Transfers>,
    primary: String,
    following: Arc<Mutex<Following>>,
    joining: Arc<Mutex<String>>,
}

impl Submit for ReplicaDesk {
    fn submit(&self, operation: Operation) -> Result<Submitted, SubmitError> {
        let _in_flight = self.transfers.admit()?;
        let sequence = self.link.submit(operation)?;
        // A replica that joins is behind for as long as that takes.
        let is_here = !self.home.is_behind() && self.applied.wait_for(sequence, HERE);
        Ok(Submitted { sequence, is_here })
    }
}

impl Desk for ReplicaDesk {
    fn snapshot(&self) -> Result<Snapshot, Error> {
        self.home.current()?.snapshot()
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let following = match &*lock(&self.following) {
            Following::Dialling => format!("{}: dialling", self.primary),
            Following::Connected(last) => format!("{}: connected, it is at {last}", self.primary),
            Following::Lost(why) => format!("{}: {why}", self.primary),
        };
        let mut status = vec![("role", "replica".into()), ("primary", following)];
        if self.home.is_behind() {
            status.push(("joining", lock(&self.joining).clone()));
        }
        if let Ok(store) = self.home.current() {
            status.extend(store.order().map(|order| ("order", order.to_string())));
            status.extend(store_status(&store));
        }
        status.extend(self.transfers.address().map(|address| ("joiners_dial", address.to_string())));
        status.push(("held", self.transfers.held().to_string()));
        status
    }
}
