//! Handlers that are not there, and what is told of those that are.

use orlop_proto::runtime::v1::{ImageSpec, StatusRequest};
use orlop_tests::cri;
use orlop_tests::daemon::{Daemon, eventually};
use tonic::Code;

use crate::{Handler, run_pod, stage};

#[tokio::test]
async fn a_handler_that_is_not_there_is_refused_by_its_name() {
    let daemon =
        Daemon::build("no-handler").config("[handlers.gone]\npath = \"/no/such/runtime\"\n").start().await;
    let mut client = daemon.client().await;
    let pod = cri::pod("pod", &daemon.logs("pod"));
    let error = run_pod(&mut client, &pod, "kata").await.expect_err("it is not known");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    for word in ["runtime_handler", "\"kata\"", "known are \"\", native and gone"] {
        assert!(error.message().contains(word), "{word} in {error}");
    }
    let error = run_pod(&mut client, &pod, "gone").await.expect_err("its program is not there");
    assert!(error.message().contains("/no/such/runtime"), "{error}");
    assert!(client.pods().await.expect("a list").is_empty());
    let image = ImageSpec { runtime_handler: "kata".into(), ..ImageSpec::default() };
    let request = orlop_proto::runtime::v1::ImageStatusRequest { image: Some(image), verbose: false };
    let error = client.images.image_status(request).await.expect_err("it is not known");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_default_handler_is_that_of_pods_that_name_none_and_outlives_another_configuration() {
    let place = tempfile("fake-runtime");
    let config = format!("[handlers]\ndefault = \"fake\"\n[handlers.fake]\npath = {place:?}\n");
    let daemon = Daemon::build("default-handler").config(&config).start().await;
    let mut on = stage(daemon).await;
    on.pod = cri::pod("pod", &on.daemon.logs("pod"));
    on.pod_id = run_pod(&mut on.client, &on.pod, "").await.expect("a pod");
    let status = on.client.pod_status(&on.pod_id).await.expect("a status");
    assert_eq!(status.runtime_handler, "fake");
    // It says that it can, and does nothing: what it was asked and said is told.
    let config = on.script("c", "true");
    let id = on.create(&config).await.expect("created");
    let error = on.client.start(&id).await.expect_err("it does nothing");
    assert!(error.message().contains("fake") && error.message().contains("nothing is done here"), "{error}");
    let request = StatusRequest { verbose: true };
    let mut seen = None;
    eventually("its features are known", async || {
        let status = on.client.runtime.status(request).await.expect("a status").into_inner();
        let all: Vec<(String, Option<bool>)> = status
            .runtime_handlers
            .iter()
            .map(|handler| {
                (handler.name.clone(), handler.features.map(|features| features.recursive_read_only_mounts))
            })
            .collect();
        let known = all.iter().all(|(_, features)| features.is_some());
        seen = Some((all, status.info["handlers"].clone()));
        known
    })
    .await;
    let (all, info) = seen.expect("seen");
    let expected = [("", Some(false)), ("native", Some(true)), ("fake", Some(false))];
    assert_eq!(all, expected.map(|(name, features)| (name.to_owned(), features)));
    assert!(info.contains("\"ociVersion\":\"9.8.7\"") && info.contains("\"default\":\"fake\""), "{info}");
    on.end().await;
    let _ = std::fs::remove_file(place);
}

/// A program that knows `features` and refuses all else with a log in JSON.
fn tempfile(name: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
    let script = "#!/bin/sh\n[ \"$1\" = features ] && { echo '{\"ociVersionMax\":\"9.8.7\",\"mountOptions\":[\"ro\"]}'; exit 0; }\n\
                  while [ $# -gt 0 ]; do [ \"$1\" = --log ] && log=$2; [ \"$1\" = delete ] && exit 0; shift; done\n\
                  echo '{\"level\":\"error\",\"msg\":\"nothing is done here\"}' >> \"$log\"; exit 1\n";
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    let _ = Handler::Native;
    path.display().to_string()
}
