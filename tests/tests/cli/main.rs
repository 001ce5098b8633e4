//! The programs as people meet them: `orlop`'s verbs against a real daemon, and the daemon's own beginning and end.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`said`] | a program run to its end, and what it said |
//! | [`verbs`] | what `orlop` shows and does |
//! | [`streams`] | `exec`, `attach` and `port-forward` |
//! | [`audit`] | what belongs to nobody |
//! | [`daemon`] | configuration, socket, notifications, figures |
//!
//! *Invariant:* what is asserted is what a person would read, or a script look at: words, columns, exit codes.

mod audit;
mod daemon;
mod said;
mod streams;
mod verbs;
