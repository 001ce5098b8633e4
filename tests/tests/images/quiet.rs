//! What asking costs: kubelet asks all day long, and nothing is looked up for it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use orlop_proto::runtime::v1::{ImageFsInfoRequest, ImageSpec, ImageStatusRequest, ListImagesRequest};
use orlop_tests::cri::Client;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;

/// A trace of every system call of a process that looks at a file.
struct Trace {
    strace: Child,
}

impl Trace {
    async fn of(pid: u32, to: &Path) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-y", "-e", "trace=%file,%fstat,%statfs,%fstatfs,getdents64", "-o"]).arg(to);
        strace.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
        let strace = strace.spawn().expect("strace is installed: make deps");
        let traced = || {
            let status =
                std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).unwrap_or_default();
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
            tracer.is_some_and(|tracer| tracer.trim() == strace.id().to_string())
        };
        eventually("strace is attached", async || traced()).await;
        // Of all threads, of which the first is one.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Trace { strace }
    }

    /// Lets go; the lines of the calls that there were.
    fn end(mut self, from: &Path) -> Vec<String> {
        let pid = rustix::process::Pid::from_raw(self.strace.id().cast_signed()).expect("a process's number");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("its own child");
        self.strace.wait().expect("its own child");
        let text = std::fs::read_to_string(from).expect("a trace");
        // The use of CPU time is looked at every ten seconds, whoever asks for what.
        let of_cgroups = |line: &&str| line.contains("/sys/fs/cgroup") || line.contains("/proc/");
        text.lines().filter(|line| line.contains('(') && !of_cgroups(line)).map(str::to_owned).collect()
    }
}

async fn ask(client: &mut Client, name: &str, verbose: bool) {
    client.images.image_fs_info(ImageFsInfoRequest {}).await.expect("figures");
    client.images.list_images(ListImagesRequest::default()).await.expect("a list");
    let image = Some(ImageSpec { image: name.into(), ..Default::default() });
    client.images.image_status(ImageStatusRequest { image, verbose }).await.expect("a status");
}

#[tokio::test]
async fn figures_lists_and_statuses_of_images_look_at_no_file() {
    let mut stage = Stage::new("quiet").await;
    let id = stage.run("c", "echo x > /written; exec sleep 1000").await;
    let image = stage.image.clone();
    // A count of the writable layer that these calls might begin is not theirs to begin.
    ask(&mut stage.client, &image, false).await;
    let to = stage.daemon.place().join("trace");
    let trace = Trace::of(stage.daemon.pid(), &to).await;
    for _ in 0..100 {
        ask(&mut stage.client, &image, false).await;
    }
    let seen = trace.end(&to);
    assert_eq!(seen, Vec::<String>::new(), "{} calls", seen.len());
    // That strace sees what there is to see: an exec looks at files.
    let trace = Trace::of(stage.daemon.pid(), &to).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.client.remove(&id).await.expect("removed");
    assert!(!trace.end(&to).is_empty(), "strace sees nothing at all");
    stage.end().await;
}
