//! How things look to people.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`text`] | texts of strangers, made harmless |
//! | [`paint`] | colour, where there is a terminal that wants it |
//! | [`table`] | lists |
//! | [`tree`] | what a thing is made of |
//! | [`waterfall`] | where the time of a start went |
//! | [`progress`] | how far a pull is |
//! | [`time`], [`size`] | times and sizes in words |
//! | [`json`] | for programs |
//!
//! *Invariant:* nothing here asks the daemon or decides what is shown.

pub(crate) mod json;
pub(crate) mod paint;
pub(crate) mod progress;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod tree;
pub(crate) mod waterfall;
