//! `orlopd`: serves Kubernetes' container runtime interface over native pods.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`app`] | the composition root: what is made of what, start and end |
//! | [`config`] | what the daemon was told |
//! | [`serve`] | connections on the socket |
//! | [`cri`] | the edge: one verb a file |
//! | [`pods`] | the core: pods and containers |
//! | [`checkpoint`] | containers and pods written down by CRIU, and restored |
//! | [`room`] | where pods' namespaces are pinned |
//! | [`shims`] | shims as the server sees them |
//! | [`handlers`] | runtimes of others, and what they can do |
//! | [`images`], [`network`], [`node`] | images, networks and the node, as the core asks for them |
//! | [`cdi`], [`hooks`], [`watched`] | devices by name; hooks; directories of files that others write |
//! | [`nri`] | plugins of others that hear of pods and containers, and change them |
//! | [`events`] | what has happened to pods and containers, by number |
//! | [`own`], [`explain`], [`audit`] | orlop's own service: pulls that can be watched, what is known of a thing, what the kernel has that no ledger has |
//! | [`gauges`] | what pods and containers use |
//! | [`streams`] | what is behind the URLs of exec, attach and port-forward |
//! | [`observe`] | log and figures |
//! | [`blocking`], [`later`] | work that may block, work behind a caller's back |
//! | [`failpoint`] | where a test can have the daemon die |
//!
//! *Invariant:* killing it stops no container, loses no log line, exit code or record. It is in no container's data path.

mod app;
mod audit;
mod blocking;
mod cdi;
mod checkpoint;
mod config;
mod cri;
mod events;
mod explain;
mod failpoint;
mod gauges;
mod handlers;
mod hooks;
mod images;
mod later;
mod network;
mod node;
mod nri;
mod observe;
mod own;
mod pods;
mod room;
mod serve;
mod shims;
mod streams;
mod units;
mod watched;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let flags = config::Flags::parse();
    let configuration = match flags.configuration() {
        Ok(configuration) => configuration,
        Err(fault) => {
            eprintln!("orlopd: {fault}");
            return ExitCode::from(2);
        }
    };
    if flags.check_config {
        println!("the configuration is understood");
        return ExitCode::SUCCESS;
    }
    match app::run(&flags, &configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            eprintln!("orlopd: {report}");
            ExitCode::FAILURE
        }
    }
}
