//! Lists: the same rows whole and as streams, whatever is asked for, and however many there are.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `ask` | the calls, whole and as streams |
//! | `filters` | what is listed of what there is |
//! | `many` | 20,000 dead containers |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod ask;
mod filters;
mod many;
