//! Good registries: images come by tag and digest, through indexes, with credentials, over broken connections, and once for all who
//! want them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;
#[path = "../../image/tests/making/mod.rs"]
mod making;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fake::image::{Content, INDEX, MANIFEST, Parts, entry};
use fake::world::{World, password, told};
use fake::{Asked, Body, Fake, Reply, reply};
use making::Tar;
use orlop_image::{Compression, digest_of};
use orlop_model::report::Kind;
use orlop_registry::{Auth, Secret, Stage};

fn serve(content: Content) -> Fake {
    Fake::start(move |asked| content.answer(asked))
}

fn native() -> String {
    orlop_image::manifest::Platform::native().architecture
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_by_tag_and_by_digest() {
    let noise: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let parts = Parts::of(&[
        (Tar::new().dir("etc", 0o700).file("etc/a", b"1").file("big", &noise).end(), Compression::Gzip),
        (Tar::new().file("etc/b", b"2").end(), Compression::Zstd),
        (Tar::new().file("etc/.wh.a", b"").file("c", b"3").end(), Compression::Plain),
    ]);
    let (world, fake) = (World::new(), serve(parts.content()));
    let pulled = world.pull(&fake).await.unwrap();
    let host = fake.host();
    let manifest = digest_of(&parts.manifest());
    assert_eq!((pulled.digest, pulled.image.id), (manifest, digest_of(&parts.config)));
    assert_eq!(pulled.image.tags, [format!("{host}/a/b:1")]);
    assert_eq!(pulled.image.digests, [format!("{host}/a/b@{manifest}")]);
    assert_eq!(world.store.chain(&pulled.image.layers).unwrap().len(), 4);
    let read = |path| world.store.read_in_root(&pulled.image.layers, path, 1 << 22).unwrap();
    assert_eq!((read("etc/a"), read("etc/b").unwrap(), read("big").unwrap()), (None, b"2".to_vec(), noise));

    let blobs = fake.count("/blobs/");
    let by_digest = world.pull_as(&fake, &format!("c/d@{manifest}"), None).await.unwrap();
    assert_eq!(by_digest.image.id, pulled.image.id);
    assert_eq!(fake.count("/blobs/"), blobs + 1, "only the config is asked for again");
    assert!(by_digest.image.digests.contains(&format!("{host}/c/d@{manifest}")));
    assert_eq!(world.store.images().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_leads_to_the_image_for_this_node() {
    let (here, there) = (Parts::small("here"), Parts::small("there"));
    let other = if native() == "s390x" { "ppc64le" } else { "s390x" };
    let entries = [
        entry(&there.manifest(), MANIFEST, "linux", other),
        entry(b"an attestation", MANIFEST, "unknown", "unknown"),
        entry(&here.manifest(), MANIFEST, "linux", &native()),
    ];
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, entries.join(","))
        .into_bytes();
    let list = String::from_utf8(index.clone())
        .unwrap()
        .replace(INDEX, "application/vnd.docker.distribution.manifest.list.v2+json");
    for index in [index, list.into_bytes()] {
        let mut content = here.content();
        content.document("1", INDEX, &index);
        let (world, fake) = (World::new(), serve(content));
        let pulled = world.pull(&fake).await.unwrap();
        assert_eq!((pulled.digest, pulled.image.id), (digest_of(&index), digest_of(&here.config)));
        assert_eq!(pulled.image.manifest, digest_of(&here.manifest()));
        assert_eq!(pulled.image.digests, [format!("{}/a/b@{}", fake.host(), digest_of(&index))]);
        assert!(world.store.blob(digest_of(&index), 1 << 20).is_ok(), "the index is kept");
    }
}

/// A registry that wants to see what `wants` says yes to.
fn guarded(content: Content, challenge: &'static str, wants: fn(&Asked) -> bool) -> Fake {
    Fake::start(move |asked| {
        if wants(asked) {
            content.answer(asked)
        } else {
            reply(401, "who?").with("www-authenticate", challenge)
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn name_and_password_open_a_registry() {
    let fake = guarded(Parts::small("x").content(), "Basic realm=\"x\"", |asked| {
        asked.header("authorization") == Some("Basic dTpwOnc=")
    });
    let world = World::new();
    for (auth, words) in [(None, "none are given"), (password("u", "wrong"), "401")] {
        let (kind, text) = told(world.pull_as(&fake, "a/b:1", auth).await);
        assert_eq!(kind, Kind::Denied, "{text}");
        assert!(text.contains(words) && !text.contains("wrong"), "{text}");
        world.is_empty(&text);
    }
    world.pull_as(&fake, "a/b:1", password("u", "p:w")).await.unwrap();
}

/// A registry with tokens: `/token` gives `good-N` for the right password, `/v2/` takes the newest.
fn tokens(content: Content, given: &Arc<AtomicUsize>) -> Fake {
    let given = Arc::clone(given);
    let realm = Arc::new(std::sync::OnceLock::<String>::new());
    let set = Arc::clone(&realm);
    let fake = Fake::start(move |asked| {
        if asked.path.starts_with("/token") {
            let known = asked.header("authorization") == Some("Basic dTpw")
                || asked.body.contains("refresh_token=refresh");
            let scoped =
                [&asked.path, &asked.body].iter().any(|text| text.contains("repository%3Aa%2Fb%3Apull"));
            return match (known, scoped) {
                (false, _) => reply(401, "canary"),
                (_, false) => reply(400, "no scope"),
                (true, true) => {
                    let number = given.fetch_add(1, Ordering::SeqCst) + 1;
                    reply(200, format!(r#"{{"token":"good-{number}","expires_in":60}}"#))
                }
            };
        }
        let good = format!("Bearer good-{}", given.load(Ordering::SeqCst));
        if asked.header("authorization") == Some(&good) {
            return content.answer(asked);
        }
        let challenge =
            format!(r#"Bearer realm="{}",service="s",scope="repository:a/b:pull""#, realm.get().unwrap());
        reply(401, "").with("www-authenticate", challenge)
    });
    set.set(format!("http://{}/token", fake.host())).unwrap();
    fake
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_kept_and_renewed() {
    let given = Arc::default();
    let fake = tokens(Parts::small("x").content(), &given);
    let world = World::new();
    for auth in [None, password("u", "wrong"), Some(Auth::Bearer(Secret::new("stale")))] {
        let (kind, text) = told(world.pull_as(&fake, "a/b:1", auth).await);
        assert_eq!(kind, Kind::Denied, "{text}");
        assert!(!text.contains("canary") && !text.contains("stale"), "{text}");
    }
    let auth = password("u", "p");
    world.pull_as(&fake, "a/b:1", auth.clone()).await.unwrap();
    assert_eq!(given.load(Ordering::SeqCst), 1, "one token for manifest, config and layer");
    world.pull_as(&fake, "a/b:1", auth.clone()).await.unwrap();
    assert_eq!(given.load(Ordering::SeqCst), 1, "and for the next pull");
    // The registry forgets the token: a new one is fetched.
    given.store(7, Ordering::SeqCst);
    world.pull_as(&fake, "a/b:1", auth).await.unwrap();
    assert_eq!(given.load(Ordering::SeqCst), 8);
    world.pull_as(&fake, "a/b:1", Some(Auth::Identity(Secret::new("refresh")))).await.unwrap();
    let posted = fake.asked().into_iter().find(|asked| asked.method == "POST").unwrap();
    assert!(
        posted.body.contains("grant_type=refresh_token") && posted.body.contains("service=s"),
        "{}",
        posted.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_breaks_off_is_resumed_where_it_broke() {
    let noise: Vec<u8> = (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let parts = Parts::of(&[(Tar::new().file("f", &noise).end(), Compression::Gzip)]);
    for ranges in [true, false] {
        let (content, blob) = (parts.content(), parts.layers[0].1.clone());
        let path = format!("/blobs/{}", digest_of(&blob));
        let (whole, times) = (blob.len(), AtomicUsize::new(0));
        let fake = Fake::start(move |asked| {
            if !asked.path.ends_with(&path) {
                return content.answer(asked);
            }
            let from = asked.from().filter(|_| ranges).unwrap_or(0);
            let time = times.fetch_add(1, Ordering::SeqCst) + 1;
            let until = (whole / 4 * time).max(from);
            let body = if time < 4 {
                Body::Cut(blob[from..until].to_vec(), whole - from)
            } else {
                Body::Whole(blob[from..].to_vec())
            };
            let range = format!("bytes {from}-{}/{whole}", whole - 1);
            Reply { status: if from > 0 { 206 } else { 200 }, headers: Vec::new(), body }
                .with("content-range", range)
        });
        let world = World::new();
        world.pull(&fake).await.unwrap();
        let starts: Vec<_> = fake
            .asked()
            .iter()
            .filter(|asked| asked.path.contains("blobs"))
            .filter_map(Asked::from)
            .collect();
        assert!(starts.len() == 3 && starts.is_sorted(), "{starts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_for_time_gets_it() {
    for wait in ["0", "31536000", "tomorrow"] {
        let content = Parts::small("x").content();
        let times = AtomicUsize::new(0);
        let fake = Fake::start(move |asked| match times.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => reply(429, "slow down").with("retry-after", wait),
            1 => reply(503, "ill"),
            _ => content.answer(asked),
        });
        World::new().pull(&fake).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_gets_no_password() {
    let parts = Parts::small("x");
    let guard = |asked: &Asked| asked.header("authorization").is_some();
    let registry = guarded(parts.content(), "Basic realm=\"x\"", guard);
    let mirror = serve(parts.content());
    let world = World::new();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{dead}\"]\n[host.\"http://{}\"]\n[host.\"http://{}\".header]\nx-key = \"k\"\n",
        registry.host(),
        mirror.host(),
        mirror.host()
    );
    world.hosts("name.example", &text);
    world.pull_name("name.example/a/b:1", password("u", "canary")).await.unwrap();
    assert!(registry.asked().is_empty());
    for asked in mirror.asked() {
        assert_eq!(asked.header("authorization"), None);
        assert_eq!(asked.header("x-key"), Some("k"));
        assert!(asked.path.contains("ns=name.example"), "{}", asked.path);
    }
    drop(mirror);
    world.store.remove("name.example/a/b:1").unwrap();
    world.pull_name("name.example/a/b:1", password("u", "canary")).await.unwrap();
    assert!(registry.asked().iter().any(|asked| asked.header("authorization").is_some()));
    assert!(registry.asked().iter().all(|asked| asked.header("x-key").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_the_same_joins_and_a_pull_outlives_its_callers() {
    let content = Parts::small("x").content();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let fake = Fake::start(move |asked| {
        if asked.path.contains("manifests") {
            // Until the test lets it on; after that at once.
            let _ = gate.lock().unwrap().recv();
        }
        content.answer(asked)
    });
    let world = World::new();
    world.plain(&fake);
    let name = format!("{}/a/b:1", fake.host()).parse().unwrap();
    let tickets: Vec<_> = (0..5).map(|_| world.pulls.pull(&name, None)).collect();
    let other = world.pulls.pull(&name, password("u", "p"));
    assert_eq!(world.pulls.running().len(), 2, "other credentials are another pull");
    drop(tickets);
    let waiting = world.pulls.pull(&name, None);
    assert!(waiting.progress().layers().is_empty());
    open.send(()).unwrap();
    open.send(()).unwrap();
    let pulled = waiting.clone().outcome().await.unwrap();
    assert_eq!(other.outcome().await.unwrap().image.id, pulled.image.id);
    assert_eq!((fake.count("manifests"), world.store.images().len()), (2, 1));
    let layers = waiting.progress().layers();
    assert!(matches!(layers[0].stage, Stage::Done | Stage::Shared), "{layers:?}");
    assert!(world.pulls.running().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_two_pulls_want_is_fetched_once() {
    let shared = (Tar::new().file("shared", b"x").end(), Compression::Gzip);
    let images = ["one", "two"]
        .map(|own| Parts::of(&[shared.clone(), (Tar::new().file(own, b"").end(), Compression::Gzip)]));
    let mut content = Content::default();
    for (tag, parts) in ["one", "two"].into_iter().zip(&images) {
        content.document(tag, MANIFEST, &parts.manifest());
        content.blob(&parts.config);
        parts.layers.iter().for_each(|(_, blob)| content.blob(blob));
    }
    let path = format!("blobs/{}", digest_of(&images[0].layers[0].1));
    let slow = path.clone();
    let fake = Fake::start(move |asked| {
        if asked.path.ends_with(&slow) {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        content.answer(asked)
    });
    let world = World::new();
    let (one, two) =
        tokio::join!(world.pull_as(&fake, "a/b:one", None), world.pull_as(&fake, "a/b:two", None));
    assert_ne!(one.unwrap().image.id, two.unwrap().image.id);
    assert_eq!((fake.count(&path), making::names(&world.store, "layers").len()), (1, 3));
}
