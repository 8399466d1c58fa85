//! The same where each sender's messages have an order and no two senders' have: members that deliver them in other orders end
//! with the same.

use longhaul::MemberId;
use longhaul::live::{Effect, Fetched};

use crate::bus::{Channel, Content};
use crate::failing::{next_provider_takes_over, provider_dies_at, quick};
use crate::host::{Host, PATIENCE, config};
use crate::joining::{Group, joins_under_writes, pending_prepares_travel};
use crate::rejoining::{rejoins_under_writes, rejoins_with_what_is_prepared};

fn group(members: u8) -> Group {
    Group::over(Channel::fifo(), members, config)
}

fn quick_group(members: u8) -> Group {
    Group::over(Channel::fifo(), members, quick)
}

#[test]
fn members_deliver_in_orders_of_their_own_and_who_joins_from_either_has_the_same() {
    let mut group = group(0);
    let senders = [1, 2].map(|n| MemberId([n; 16]));
    for number in 0..40 {
        for sender in senders {
            let key = group.bus.channel.key(sender, number % 7);
            group.bus.send(sender, Content { effect: Effect::Write, key, value: number });
        }
    }
    let last = group.bus.last();
    group.hosts.extend((1..3).map(|n| Host::found(&group.bus, config(n))));
    let orders = [0, 1].map(|n: usize| {
        group.hosts[n].delivered(&last);
        group.hosts[n].map.senders.lock().unwrap().clone()
    });
    assert_ne!(orders[0], orders[1], "80 messages, drawn one by one");
    for n in 0..2 {
        let joiner = Host::join(&group.bus, config(3 + n));
        let target = group.hosts[usize::from(n)].address();
        let fetched = joiner.member().fetch_state(&[target], b"", PATIENCE).unwrap().wait();
        assert!(matches!(fetched.unwrap(), Fetched::State(_)));
        group.hosts.push(joiner);
    }
    group.settle();
}

#[test]
fn a_joiner_under_writes_ends_with_what_each_sender_has_sent_in_his_order() {
    joins_under_writes(group(3));
}

#[test]
fn prepares_of_several_senders_travel_and_their_commits_find_them() {
    pending_prepares_travel(group(2));
}

#[test]
fn a_member_that_serves_gets_another_state_while_each_delivers_in_an_order_of_its_own() {
    rejoins_under_writes(group(3));
}

#[test]
fn what_several_senders_have_prepared_comes_with_another_state_once() {
    rejoins_with_what_is_prepared(group(0));
}

// Catalogue: F49
#[test]
fn a_provider_that_dies_while_the_bulk_moves_leaves_the_old_state() {
    provider_dies_at(quick_group(1), |gates| &gates.stage);
}

// Catalogue: F49
#[test]
fn a_provider_that_dies_while_its_log_is_followed_leaves_the_old_state() {
    provider_dies_at(quick_group(1), |gates| &gates.apply);
}

// Catalogue: F49
#[test]
fn where_a_provider_dies_the_next_one_takes_over() {
    next_provider_takes_over(group(2));
}
