//! What tests stand on: images made in memory, a real registry, a place of one's own.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`place`] | a directory that goes with its test |
//! | [`layer`], [`image`] | layers and images, entry by entry, in every form that a registry may hold |
//! | [`busybox`] | an image of this machine's own busybox |
//! | [`http`], [`registry`] | Debian's docker-registry on a free port, and how an image gets into it |
//! | [`run`] | a program run with an input, or on a terminal |
//! | [`cri`], [`session`] | a CRI client; one of exec, attach and port-forward |
//! | [`daemon`], [`leaks`] | an orlopd of one's own, and whether anything is left of it |
//! | [`refusal`] | what a refusal has to be |
//! | [`kubelet`] | a kubelet by itself on that orlopd |
//! | [`mute`] | a filesystem that never answers |
//! | [`client_go`] | Kubernetes' own client library |
//! | [`port`] | ports that are free |
//! | [`hash`] | digests, base64 |
//! | [`tidy`] | the source as text, for the tests of its order |
//!
//! *Invariant:* nothing of the programs is linked here: tests drive them as processes. Ports are free ones, names are unique, and
//! what a fixture starts ends with it.

pub mod busybox;
pub mod client_go;
pub mod cri;
pub mod daemon;
pub mod hash;
pub mod http;
pub mod image;
pub mod kubelet;
pub mod layer;
pub mod leaks;
pub mod mute;
pub mod nri;
pub mod place;
pub mod port;
pub mod refusal;
pub mod registry;
pub mod run;
pub mod session;
pub mod tidy;
