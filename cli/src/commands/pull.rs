//! `orlop pull`: fetches an image and shows how far it is. The pull goes on when this is interrupted.

use std::io::{self, Write as _};

use clap::Args;
use orlop_proto::orlop::v1::PullRequest;
use orlop_proto::orlop::v1::pull_progress::Event;

use crate::client::Daemon;
use crate::failure::Failure;
use crate::password;
use crate::render::progress::Progress;
use crate::render::text::escape;

/// Its flags.
#[derive(Debug, Args)]
#[command(
    after_help = "Prints the image's id. How far it is goes to standard error. The password of --username is \
                        taken from ORLOP_PASSWORD or asked for."
)]
pub(crate) struct Pull {
    /// Name of the image, with a tag or a digest
    image: String,
    /// Who asks the registry
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Take the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Show only the id
    #[arg(short, long)]
    quiet: bool,
}

impl Pull {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let password = match &self.username {
            Some(username) => password::get(username, self.password_stdin)?,
            None => String::new(),
        };
        let username = self.username.unwrap_or_default();
        let request = PullRequest { image: self.image.clone(), username, password };
        let mut progress = Progress::new(self.quiet);
        let outcome = fetch(daemon, request, &mut progress).await;
        progress.end();
        writeln!(io::stdout(), "{}", escape(&outcome?))?;
        Ok(0)
    }
}

async fn fetch(daemon: &Daemon, request: PullRequest, progress: &mut Progress) -> Result<String, Failure> {
    let what = format!("pull {}", request.image);
    let answer = daemon.own().pull(request).await;
    let mut news = answer.map_err(|status| daemon.refused(&what, &status))?.into_inner();
    while let Some(message) = news.message().await.map_err(|status| daemon.refused(&what, &status))? {
        match message.event {
            Some(Event::Layer(layer)) => progress.hear(&layer),
            Some(Event::ImageId(id)) => return Ok(id),
            Some(Event::Failure(said)) => return Err(Failure::Pull { said: escape(&said) }),
            // Of a newer daemon: news that we do not understand.
            None => {}
        }
    }
    Err(Failure::Incomplete { what: escape(&what), lacks: "its end: neither an image nor a failure" })
}
