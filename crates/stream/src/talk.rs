//! What is said over a connection: exec and attach, or ports, in each of the forms.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`command`] | a command at work, whatever the form |
//! | [`spdy`] | its streams over SPDY |
//! | [`channels`] | channels of WebSocket messages; a command's |
//! | [`forward`] | a forwarded connection, whatever the form |
//! | [`pairs`] | pairs of streams over SPDY, bare or in a tunnel |
//! | [`ports`] | pairs of channels |
//!
//! *Invariant:* a talk owns all that belongs to it: when it is dropped, the client is gone for what was behind.

pub(crate) mod channels;
pub(crate) mod command;
pub(crate) mod forward;
pub(crate) mod pairs;
pub(crate) mod ports;
pub(crate) mod spdy;

use crate::connection::{Agreed, Ending};
use crate::limits::Limits;
use crate::outbox::{Form, Outbox};
use crate::session::Work;
use crate::source::Source;

/// Talks until all is said or the client is gone.
pub(crate) async fn talk(
    source: &mut Source,
    outbox: &Outbox,
    agreed: Agreed,
    work: Work,
    limits: &Limits,
) -> Ending {
    let version = agreed.version;
    match (work, agreed.form) {
        (Work::Command(streams, command), Form::Spdy | Form::Tunnel) => {
            spdy::talk(source, outbox, streams, command, version, limits).await
        }
        (Work::Command(streams, command), Form::Channels | Form::Base64) => {
            channels::talk(source, outbox, streams, command, version).await
        }
        (Work::Ports(ports), Form::Spdy | Form::Tunnel) => {
            pairs::talk(source, outbox, ports.into(), limits).await
        }
        (Work::Ports(ports), Form::Channels | Form::Base64) => {
            let asked = ports.asked();
            let asked = if asked.is_empty() { agreed.ports } else { asked };
            ports::talk(source, outbox, ports.into(), asked, limits).await
        }
    }
}
