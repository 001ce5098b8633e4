//! The pod of `make run`: one container serves a page, the other fetches it over localhost.
//!
//! ```text
//! demo-pod SOCKET IMAGE LOG_DIRECTORY    makes and starts it; prints pod=ID web=ID client=ID address=IP, one a line
//! ```
//!
//! *Invariant:* a plain CRI client; what it does, crictl could do.

use std::process::ExitCode;

use orlop_proto::runtime::v1::{PodSandboxStatusRequest, RunPodSandboxRequest};
use orlop_tests::cri::{Client, container, pod};

/// What the second container does: fetch until there is an answer, say it, and stay.
const FETCH: &str =
    "until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done; while :; do sleep 3600; done";

type Answer = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match (&words[..], runtime) {
        ([socket, image, logs], Ok(runtime)) => runtime.block_on(up(socket, image, logs)),
        (_, Err(error)) => Err(error.into()),
        (_, Ok(_)) => Err("usage: demo-pod SOCKET IMAGE LOG_DIRECTORY".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo-pod: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn up(socket: &str, image: &str, logs: &str) -> Answer {
    let mut client = Client::connect(socket).await?;
    let config = pod("demo", logs);
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    let pod_id = client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    println!("pod={pod_id}");
    let serve = container("web", image, &["httpd", "-f", "-v", "-p", "8080", "-h", "/www"]);
    println!("web={}", client.run(&pod_id, &config, serve).await?);
    let fetch = container("client", image, &["sh", "-c", FETCH]);
    println!("client={}", client.run(&pod_id, &config, fetch).await?);
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod_id, verbose: false };
    let status = client.runtime.pod_sandbox_status(request).await?.into_inner().status;
    let network = status.and_then(|status| status.network).ok_or("the pod has no network")?;
    println!("address={}", network.ip);
    Ok(())
}
