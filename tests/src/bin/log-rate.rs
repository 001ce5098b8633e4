//! How fast a runtime takes a container's output: `log-rate SOCKET IMAGE MEBIBYTES`.
//!
//! The container copies a file of 82-byte lines to its stdout with one program (`cat`), so that what makes the output is not what is
//! measured: a pipeline of `yes` and `head` cannot make more than about 300 MB/s on two cores.
//!
//! *Invariant:* a plain CRI client; the same for every runtime. Leaves nothing.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use orlop_proto::runtime::v1::{
    ContainerState, ContainerStatusRequest, ImageSpec, Mount, PullImageRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StopPodSandboxRequest,
};
use orlop_tests::cri::{Client, container, pod};
use orlop_tests::place::Place;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, image, size] = arguments.as_slice() else {
        eprintln!("usage: log-rate SOCKET IMAGE MEBIBYTES");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let measured = runtime.map_err(Into::into).and_then(|runtime| {
        let size: u64 = size.parse()?;
        runtime.block_on(measure(socket, image, size << 20))
    });
    match measured {
        Ok(seconds) => {
            println!("log of {size} MiB in {seconds:.2} s");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("log-rate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn lines(path: &Path, size: u64) -> std::io::Result<()> {
    let line = format!("{}\n", "0123456789".repeat(9).split_at(81).0);
    let many = line.repeat(1000);
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut left = usize::try_from(size).unwrap_or(usize::MAX);
    while left > 0 {
        let part = many.len().min(left);
        file.write_all(&many.as_bytes()[..part])?;
        left -= part;
    }
    file.flush()
}

/// Seconds from the program's start to its end, as the runtime tells them.
async fn measure(socket: &str, image: &str, size: u64) -> Outcome<f64> {
    let place = Place::new("log-rate");
    let file = place.join("lines");
    lines(&file, size)?;
    let mut client = Client::connect(socket).await?;
    let spec = ImageSpec { image: image.into(), ..ImageSpec::default() };
    client.images.pull_image(PullImageRequest { image: Some(spec), ..Default::default() }).await?;
    let config = pod("log-rate", &place.path().display().to_string());
    let request = RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: String::new() };
    let pod_id = client.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
    let mut cat = container("cat", image, &["cat", "/lines"]);
    cat.log_path = "cat.log".into();
    cat.mounts.push(Mount {
        container_path: "/lines".into(),
        host_path: file.display().to_string(),
        readonly: true,
        ..Mount::default()
    });
    let id = client.run(&pod_id, &config, cat).await?;
    let status = loop {
        let request = ContainerStatusRequest { container_id: id.clone(), verbose: false };
        let status =
            client.runtime.container_status(request).await?.into_inner().status.ok_or("no status")?;
        if status.state() == ContainerState::ContainerExited {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let whole = std::fs::metadata(place.join("cat.log"))?.len();
    let stop = StopPodSandboxRequest { pod_sandbox_id: pod_id.clone() };
    client.runtime.stop_pod_sandbox(stop).await?;
    client.runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: pod_id }).await?;
    if status.exit_code != 0 || whole <= size {
        return Err(format!("exit code {}, {whole} bytes of log", status.exit_code).into());
    }
    Ok(Duration::from_nanos(u64::try_from(status.finished_at - status.started_at)?).as_secs_f64())
}
