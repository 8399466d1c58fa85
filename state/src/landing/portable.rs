//! Carries operations out with `std` alone, on any Unix. Names are checked part by part.
