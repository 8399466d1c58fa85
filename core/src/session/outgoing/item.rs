//! An item's life at its provider.

use crate::transitions::transitions;

transitions! {
    ITEM_OUT, "an item at its provider";
    /// Where an item is at its provider.
    pub(super) enum ItemOut {
        /// No item.
        Free,
        /// Offered: the joiner's answer is awaited.
        Offered,
        /// Read and sent.
        Reading,
        /// All was read: the driver closes it.
        Closing,
        /// Its end is sent, or about to be.
        Ended,
        /// A lane that carried some of it was lost: the joiner asks for what is missing, or verifies it.
        Recalled,
        /// It will be offered again.
        Reoffering,
    }
    /// What moves it on.
    pub(super) enum ItemOutInput {
        /// Offered; its content after the answer.
        Offer,
        /// Offered; its content follows at once.
        OfferEager,
        /// Offered; it has no content.
        OfferEmpty,
        /// The joiner wants its content, or has come so far with it.
        Accept,
        /// The joiner has it already.
        Skip,
        /// All was read.
        Read,
        /// The driver has closed it.
        Closed,
        /// A lane that carried some of it was lost.
        Recall,
        /// The joiner asks for it again.
        Again,
        /// The connection was lost.
        Lose,
        /// The joiner has verified it.
        Verify,
    }
    Free { Offer => Offered, OfferEager => Reading, OfferEmpty => Ended, }
    Offered { Accept => Reading, Skip => Ended, Again => Reoffering, Lose => Reoffering, Verify => Free, }
    Reading {
        Accept => Reading, Read => Closing, Recall => Recalled, Again => Reoffering, Lose => Reoffering,
        Verify => Free,
    }
    Closing {
        Accept => Closing, Closed => Ended, Recall => Recalled, Again => Reoffering, Lose => Reoffering,
        Verify => Free,
    }
    Ended { Accept => Ended, Recall => Recalled, Again => Reoffering, Lose => Reoffering, Verify => Free, }
    Recalled {
        Accept => Recalled, Closed => Recalled, Recall => Recalled, Again => Reoffering, Lose => Reoffering,
        Verify => Free,
    }
    Reoffering {
        Offer => Offered, OfferEager => Reading, OfferEmpty => Ended, Accept => Reoffering,
        Closed => Reoffering, Lose => Reoffering, Verify => Free,
    }
}
