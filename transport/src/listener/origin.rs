//! Where callers come from, as far as fairness between them goes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the network of an IPv6 address: its first 64 bits, for who has one has all the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Origin {
    /// The one that comes most often; of several, any.
    #[must_use]
    pub fn most_crowded(origins: impl Iterator<Item = Self>) -> Option<Self> {
        let mut counts: HashMap<Self, usize> = HashMap::new();
        origins.for_each(|origin| *counts.entry(origin).or_default() += 1);
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(origin, _)| origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_origin() {
        let origin = |address: &str| Origin::from(address.parse::<IpAddr>().unwrap());
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:2"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
        assert_ne!(origin("10.0.0.2"), origin("10.0.0.1"));
    }
}
