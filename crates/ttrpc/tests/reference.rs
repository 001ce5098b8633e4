//! Both sides against the implementation in Go, which containerd's shims and NRI's plugins are built on.
//!
//! Built only with the feature `go`: `tests/all.sh` asks for it where Go is on PATH, and says so where it is not.
//!
//! *Invariant:* the program in `tests/go` uses nothing of this crate.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use orlop_ttrpc::message::Metadata;
use orlop_ttrpc::server::{Answering, Services};
use orlop_ttrpc::{Call, Client, Code, Error, Options, Service, Status, serve};
use prost::Message as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;

const SERVICE: &str = "orlop.Test";

async fn program(directory: &Path) -> PathBuf {
    let program = directory.join("reference");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go"))
        .output()
        .await
        .expect("go");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

#[tokio::test]
async fn its_server_is_called() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program(directory.path()).await;
    let socket = directory.path().join("socket");
    let mut server = Command::new(program)
        .arg("serve")
        .arg(&socket)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let mut said = BufReader::new(server.stdout.take().expect("piped")).lines();
    assert_eq!(said.next_line().await.expect("read").as_deref(), Some("listening"));
    let client = Client::new(UnixStream::connect(&socket).await.expect("connected"));
    let say = |method: &'static str, said: String, options: Options| {
        let client = client.clone();
        async move { client.call::<String, String>(SERVICE, method, &said, &options).await }
    };

    let calls: Vec<_> = (0..50)
        .map(|number: usize| {
            let said = number.to_string().repeat(1 + number * 1000);
            (said.clone(), tokio::spawn(say("Echo", said, Options::default())))
        })
        .collect();
    for (said, call) in calls {
        assert_eq!(call.await.expect("it ends"), Ok(said));
    }
    let failed = say("Fail", "why".into(), Options::default()).await;
    assert_eq!(failed, Err(Status::new(Code::NotFound, "why").into()));
    let failed = say("None", String::new(), Options::default()).await;
    assert!(matches!(failed, Err(Error::Status(status)) if status.code == Code::Unimplemented));
    let metadata = Metadata::from([("key".to_owned(), vec!["one".to_owned(), "two".to_owned()])]);
    let beside = say("Beside", String::new(), Options { timeout: None, metadata }).await;
    assert_eq!(beside, Ok("one,two".to_owned()));
    let late = say("Late", String::new(), Options::within(Duration::from_millis(200))).await;
    // Its deadline has run out, or ours: never that it heard of none.
    assert!(
        matches!(&late, Err(Error::Late(_)))
            || matches!(&late, Err(Error::Status(status)) if status.message.contains("deadline exceeded")),
        "{late:?}"
    );
    assert_eq!(say("Echo", "still".into(), Options::default()).await, Ok("still".to_owned()));

    server.start_kill().expect("killed");
    client.closed().await;
    assert_eq!(say("Echo", String::new(), Options::default()).await, Err(Error::Closed));
}

struct Ours;

impl Service for Ours {
    fn call(&self, call: Call) -> Answering {
        Box::pin(async move {
            match call.method.as_str() {
                "Echo" => Ok(call.payload),
                "Fail" => Err(Status::new(Code::NotFound, call.request::<String>()?)),
                "Beside" => Ok(call.metadata["key"].join(",").encode_to_vec()),
                "Late" if call.timeout.is_some_and(|timeout| timeout < Duration::from_mins(1)) => {
                    std::future::pending().await
                }
                _ => Err(Status::unimplemented(&call.service, &call.method)),
            }
        })
    }
}

#[tokio::test]
async fn its_client_is_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = program(directory.path()).await;
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("bound");
    let service: Arc<dyn Service> = Arc::new(Services::default().with(SERVICE, Arc::new(Ours)));
    let serving = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.expect("a client");
        serve(connection, service).await
    });
    let said = Command::new(program).arg("call").arg(&socket).output().await.expect("run");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(String::from_utf8_lossy(&said.stdout), "all as it should be\n");
    serving.await.expect("it ends").expect("in order");
}
