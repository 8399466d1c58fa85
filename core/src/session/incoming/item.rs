//! An item's life at its joiner.

use crate::transitions::transitions;

transitions! {
    ITEM_IN, "an item at its joiner";
    /// Where an item is at its joiner.
    pub(super) enum ItemIn {
        /// No item.
        Free,
        /// Offered: the driver makes a place for it.
        Opening,
        /// Its place stands: it is accepted, or will be when it is offered again.
        Opened,
        /// Its content comes.
        Receiving,
        /// All has come: the driver compares and completes it.
        Finishing,
        /// It failed: Again is to be sent.
        Failing,
        /// It is to be offered again.
        Asked,
        /// Compared and completed.
        Verified,
    }
    /// What moves it on.
    pub(super) enum ItemInInput {
        /// Offered; its content after the answer.
        Offer,
        /// Offered again; what came before stays.
        OfferKept,
        /// Offered; its content follows at once.
        OfferEager,
        /// Offered; it has no content.
        OfferEmpty,
        /// Its place stands.
        Opened,
        /// Accept was sent.
        Accept,
        /// All its bytes and its end have come.
        Whole,
        /// Compared, and the same.
        Match,
        /// A checksum does not match, or some of it was lost with a lane.
        Fail,
        /// Again was sent.
        Ask,
        /// The connection was lost.
        Lose,
        /// Everything before it is verified too.
        Slide,
    }
    Free {
        Offer => Opening, OfferEager => Receiving, OfferEmpty => Finishing, Fail => Failing, Lose => Free,
    }
    Opening { Offer => Opening, Opened => Opened, Lose => Opening, }
    Opened { Offer => Opened, Accept => Receiving, Lose => Opened, }
    Receiving { Whole => Finishing, Fail => Failing, Lose => Asked, }
    Finishing {
        Offer => Finishing, OfferEager => Finishing, OfferEmpty => Finishing, Match => Verified,
        Fail => Failing, Lose => Finishing,
    }
    Failing { Ask => Asked, Lose => Asked, }
    Asked {
        Offer => Opening, OfferKept => Opened, OfferEager => Receiving, OfferEmpty => Finishing,
        Fail => Failing, Lose => Asked,
    }
    Verified {
        Offer => Verified, OfferEager => Verified, OfferEmpty => Verified, Lose => Verified, Slide => Free,
    }
}
