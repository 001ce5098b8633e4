//! Specs, and the plans they become.
