//! `orlop-shim`: one a container. It bears the container, watches it, writes its log, and is gone with it.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`run`] | a container from its plan to its exit record |
//! | [`hold`] | the first process of a PID namespace that a pod's containers share |
//! | [`spaces`] | a pod's user namespace, and those that it owns |
//! | [`birth`] | clone3(2) and execve(2): a red door |
//! | [`prepare`] | before clone: what a child in a user namespace could not do |
//! | [`child`] | between clone and exec: the loop over the plan |
//! | [`watch`] | after birth: the epoll loop, connections, log, processes |
//! | [`record`] | what is on disk before anyone is told |
//!
//! ```text
//! orlop-shim run DIRECTORY     descriptors: 3 control socket, 4 the locked life file, 5... the plan's slots
//! orlop-shim delete DIRECTORY  has the runtime of others that the plan names take away what it has of the container
//! orlop-shim init DIRECTORY N  N descriptors: 3 control socket, 4 the locked life file, 5... namespaces to join
//! orlop-shim init DIRECTORY N user                  the same, and the last is a user namespace, which is joined first
//! orlop-shim spaces UID_MAP GID_MAP KINDS [PATH VALUE]...    descriptor: 3 control socket
//! ```
//!
//! *Invariant:* one thread; no async runtime, no JSON; nothing of the server's is needed once it runs. It decides nothing: the plan
//! says what is to be done.

mod birth;
mod cgroups;
mod child;
mod hold;
mod prepare;
mod record;
mod run;
mod spaces;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [name, command @ ..] if name.ends_with("orlop-oci") => oci(command),
        [_, "run", directory] => run::run(directory),
        [_, "delete", directory] => run::delete(directory),
        [_, "init", directory, handed] => hold::run(directory, handed, false),
        [_, "init", directory, handed, "user"] => hold::run(directory, handed, true),
        [_, "spaces", uids, gids, kinds, sysctls @ ..] => spaces::run(uids, gids, kinds, sysctls),
        [_, "place"] => hold::place(),
        [_, "--version"] => {
            println!("orlop-shim {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!(
                "usage: orlop-shim run DIRECTORY | delete DIRECTORY | init DIRECTORY N [user] | spaces UID_MAP GID_MAP KINDS [PATH VALUE]... | place | --version\nIt is started by orlopd, with descriptors that only orlopd has."
            );
            ExitCode::from(2)
        }
    }
}

/// The name under which this program will be an OCI runtime. It says so, and refuses, rather than doing half of it.
fn oci(command: &[&str]) -> ExitCode {
    if let ["--version" | "-v"] = command {
        println!("orlop-oci {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "orlop-oci: the commands of an OCI runtime are not in this version; use runc or crun for a bundle"
    );
    ExitCode::FAILURE
}
