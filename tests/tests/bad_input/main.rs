//! What cannot be is refused: each request has its code, a message that names what is wrong, and leaves nothing behind.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`call`] | a call as data |
//! | [`row`] | a request, what has to be said to it, and how that is judged |
//! | [`pods`], [`containers`], [`lives`], [`images`] | the tables |
//! | [`starts`] | what is found out only when a container starts |
//! | [`connections`] | clients that send no requests, or too large ones, or go away |
//!
//! *Invariant:* a row is judged by itself: whatever it left would be seen before the next.

mod call;
mod connections;
mod containers;
mod images;
mod lives;
mod pods;
mod row;
mod starts;
