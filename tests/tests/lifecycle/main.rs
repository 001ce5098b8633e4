//! The life of pods and containers, as a kubelet goes through it.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `pods` | a pod comes, is listed, stops, goes; attempts |
//! | `retries` | calls that come again, together or after their clients gave up |
//! | `ends` | how containers end, and what is told of it |
//! | `networks` | addresses, ports, names |
//! | `namespaces` | what the containers of a pod share with each other and with the node |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod ends;
mod namespaces;
mod networks;
mod pods;
mod retries;
