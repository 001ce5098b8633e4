//! `orlop attach`: a container's own streams.
//!
//! *Invariant:* a container without stdin gets none of ours.

use clap::Args;
use orlop_proto::runtime::v1::AttachRequest;

use crate::client::{Daemon, question};
use crate::failure::Failure;
use crate::resolve;
use crate::session::talk::{Ended, Wanted, talk};
use crate::session::{STREAMS, open};

/// Its flags.
#[derive(Debug, Args)]
#[command(
    after_help = "Ctrl-P Ctrl-Q leaves a terminal and lets the container go on.\n\nExample: orlop attach -it shell"
)]
pub(crate) struct Attach {
    /// Pass our input on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The container has a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// A container
    pub(crate) id: String,
}

impl Attach {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let container_id = resolve::container(daemon, &self.id).await?;
        let what = format!("attach {}", self.id);
        let request = AttachRequest {
            container_id,
            stdin: self.interactive,
            tty: self.tty,
            stdout: true,
            stderr: !self.tty,
        };
        let answer = daemon.runtime().attach(question(request)).await;
        let url = answer.map_err(|status| daemon.refused(&what, &status))?.into_inner().url;
        let broken = |source| Failure::Session { what: what.clone(), source };
        let (incoming, outgoing) = open(&url, STREAMS).await.map_err(broken)?;
        let wanted = Wanted { input: self.interactive, terminal: self.tty, leaves: self.tty };
        match talk(incoming, outgoing, wanted).await.map_err(broken)? {
            Ended::Well => Ok(0),
            Ended::Code(code) => Ok(code),
            Ended::Failed(said) => Err(Failure::Refused {
                what,
                code: tonic::Code::Unknown,
                said: crate::render::text::escape(&said),
            }),
        }
    }
}
