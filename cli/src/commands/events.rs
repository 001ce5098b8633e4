//! `orlop events`: what has happened to pods and containers, by number.

use std::io::Write;

use clap::Args;
use orlop_proto::orlop::v1::{Event, EventsRequest};
use orlop_proto::runtime::v1::ContainerEventType;

use crate::args::Style;
use crate::client::Daemon;
use crate::failure::Failure;
use crate::render::paint::{Ink, Paint};
use crate::render::{json, text, time};
use crate::shape;

/// Its flags.
#[derive(Debug, Args)]
#[command(
    after_help = "Each event has a number, and the numbers go on when the daemon is restarted. What is no longer \
                        kept is said to be missing; it is never left out silently."
)]
pub(crate) struct Events {
    /// Only those after this number
    #[arg(long, value_name = "NUMBER")]
    since: Option<u64>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,
    /// As lines of text, or as JSON, an object an event
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
}

impl Events {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let request = EventsRequest { since: self.since, follow: self.follow };
        let refused = |status| daemon.refused("events", &status);
        let mut events = daemon.own().events(request).await.map_err(refused)?.into_inner();
        let (mut out, paint) = super::output();
        while let Some(event) = events.message().await.map_err(refused)? {
            match self.output {
                Style::Json => json::line(&mut out, &shape::event::told(&event))?,
                Style::Text => line(&mut out, paint, &event)?,
            }
            // Each at once: whoever follows waits for it, and a closed pipe is noticed.
            out.flush()?;
        }
        Ok(0)
    }
}

fn line(out: &mut impl Write, paint: Paint, event: &Event) -> std::io::Result<()> {
    let told = event.event.clone().unwrap_or_default();
    let ink = match told.container_event_type() {
        ContainerEventType::ContainerCreatedEvent => Ink::Yellow,
        ContainerEventType::ContainerStartedEvent => Ink::Green,
        ContainerEventType::ContainerStoppedEvent => Ink::Red,
        ContainerEventType::ContainerDeletedEvent => Ink::Plain,
    };
    let what = paint.apply(ink, &format!("{:<7}", shape::event::word(told.container_event_type())));
    let name = if event.name.is_empty() { "-" } else { &event.name };
    write!(
        out,
        "{}  {:>6}  {:<9}  {what}  {}  {}",
        time::exact(told.created_at),
        event.number,
        shape::event::kind(event),
        text::escape(text::short(&told.container_id)),
        text::escape(name),
    )?;
    if let Some(pod) = shape::event::pod(event) {
        write!(out, "  in {}", text::escape(&pod))?;
    }
    if let Some(status) = shape::event::end(&told) {
        write!(out, "  exit {} {}", status.exit_code, text::escape(&status.reason))?;
    }
    writeln!(out)
}
