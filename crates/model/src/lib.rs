//! What orlop speaks of: ids, names, digests, times, requests, and the lives of pods and containers as values.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`id`] | ids of pods and containers |
//! | [`time`] | points in time, as CRI counts them |
//! | [`pod`] | what is asked of a pod sandbox |
//! | [`container`] | what is asked of a container |
//! | [`life`] | states and what changes them |
//! | [`report`] | what went wrong: stage, object, cause, advice |
//! | [`mod@reference`] | image names, digests |
//!
//! *Invariant:* plain data. Nothing here does anything, waits, reads a clock, or knows of a wire format.

pub mod container;
pub mod id;
pub mod life;
pub mod pod;
pub mod reference;
pub mod report;
pub mod time;
