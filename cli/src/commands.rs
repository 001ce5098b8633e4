//! One verb, one file: its flags, what it asks of the daemon, what it shows.
//!
//! *Invariant:* a verb gives back an exit code and never ends the program. What it shows of one run goes to standard output at
//! once, so that a closed pipe is noticed.

mod attach;
mod audit;
mod completion;
mod events;
mod exec;
mod explain;
mod images;
mod inspect;
mod logs;
mod pods;
mod port_forward;
mod ps;
mod pull;
mod rm;
mod rmi;
mod stop;
mod version;

use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::time::SystemTime;

use clap::{Subcommand, ValueEnum};
use orlop_model::time::Timestamp;

use crate::args::{Kind, Typed};
use crate::client::Daemon;
use crate::failure::Failure;
use crate::render::paint::Paint;

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Containers that run
    Ps(ps::Ps),
    /// Pods
    Pods(pods::Pods),
    /// Images
    Images(images::Images),
    /// Fetch an image
    Pull(pull::Pull),
    /// Remove images
    Rmi(rmi::Rmi),
    /// What a container wrote
    Logs(logs::Logs),
    /// Run a command in a container
    Exec(exec::Exec),
    /// Take part in what a container reads and writes
    Attach(attach::Attach),
    /// Lead ports of this machine's loopback to a pod's
    PortForward(port_forward::PortForward),
    /// What a pod or a container is made of, and where the time of its start went
    Explain(explain::Explain),
    /// What has happened to pods and containers, by number
    Events(events::Events),
    /// All that the daemon says of pods, containers or images, as JSON
    Inspect(inspect::Inspect),
    /// End containers or pods
    Stop(stop::Stop),
    /// Remove containers or pods
    Rm(rm::Rm),
    /// What the ledger says against what the kernel has
    Audit(audit::Audit),
    /// Who this is and who answers
    Version(version::Version),
    /// What a shell needs to complete command lines
    Completion(completion::Completion),
}

/// Does what was typed; the exit code.
///
/// # Errors
/// Whatever keeps it from being done.
pub(crate) async fn run(typed: Typed) -> Result<u8, Failure> {
    let Typed { host, verb } = typed;
    let connect = || Daemon::connect(&host);
    match verb {
        Verb::Ps(verb) => verb.run(&connect().await?).await,
        Verb::Pods(verb) => verb.run(&connect().await?).await,
        Verb::Images(verb) => verb.run(&connect().await?).await,
        Verb::Pull(verb) => verb.run(&connect().await?).await,
        Verb::Rmi(verb) => verb.run(&connect().await?).await,
        Verb::Logs(verb) => verb.run(&connect().await?).await,
        Verb::Attach(verb) => verb.run(&connect().await?).await,
        Verb::PortForward(verb) => verb.run(&connect().await?).await,
        Verb::Explain(verb) => verb.run(&connect().await?).await,
        Verb::Events(verb) => verb.run(&connect().await?).await,
        Verb::Inspect(verb) => verb.run(&connect().await?).await,
        Verb::Stop(verb) => verb.run(&connect().await?).await,
        Verb::Rm(verb) => verb.run(&connect().await?).await,
        Verb::Audit(verb) => verb.run(&connect().await?).await,
        // Exit codes of its own, also where no daemon answers.
        Verb::Exec(verb) => verb.run(&host).await,
        // Says its own version also where none does.
        Verb::Version(verb) => verb.run(&host).await,
        Verb::Completion(verb) => verb.run(),
    }
}

/// What can be stopped, removed and explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Living {
    /// A container.
    Container,
    /// A pod.
    Pod,
}

impl Living {
    /// Among what is to be looked, if this is what was asked for.
    fn kinds(asked: Option<Self>) -> &'static [Kind] {
        match asked {
            Some(Living::Container) => &[Kind::Container],
            Some(Living::Pod) => &[Kind::Pod],
            None => &[Kind::Container, Kind::Pod],
        }
    }
}

/// Standard output, and how it may be painted.
fn output() -> (BufWriter<StdoutLock<'static>>, Paint) {
    (BufWriter::new(io::stdout().lock()), Paint::on(&io::stdout()))
}

/// The time, now.
fn now() -> Timestamp {
    Timestamp::of(SystemTime::now())
}

/// Does one thing to each of `given`, and goes on where it fails; what was done is printed as it was given.
async fn each(
    given: &[String],
    mut deed: impl AsyncFnMut(&str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut code = 0;
    for one in given {
        match deed(one).await {
            Ok(()) => writeln!(io::stdout(), "{}", crate::render::text::escape(one))?,
            Err(failure) => {
                // Nobody is left to be told that it cannot be told.
                let _ = writeln!(io::stderr(), "orlop: {}", failure.tell());
                code = 1;
            }
        }
    }
    Ok(code)
}
