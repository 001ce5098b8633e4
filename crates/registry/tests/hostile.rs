//! Registries that lie, never end, never begin, or send us elsewhere: each pull fails with a reason, in bounds, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;
#[path = "../../image/tests/making/mod.rs"]
mod making;

use std::time::Duration;

use fake::image::{CONFIG, Content, INDEX, MANIFEST, Parts, descriptor, entry};
use fake::world::{World, password, patience, told};
use fake::{Body, Fake, Reply, reply};
use making::{Tar, config, gzip};
use orlop_image::{Compression, digest_of};
use orlop_model::report::Kind;
use orlop_registry::Patience;

fn native() -> String {
    orlop_image::manifest::Platform::native().architecture
}

/// A good image with one thing changed in what the registry has.
fn content(change: impl Fn(&mut Parts, &mut Content)) -> Content {
    let mut parts = Parts::of(&[
        (Tar::new().file("a", b"a").end(), Compression::Gzip),
        (Tar::new().file("b", &vec![b'b'; 100_000]).end(), Compression::Zstd),
    ]);
    let mut content = parts.content();
    change(&mut parts, &mut content);
    content
}

/// A manifest in place of the good one.
fn manifest(text: impl Fn(&Parts) -> String) -> Content {
    content(|parts, content| {
        let text = text(parts);
        content.document("1", MANIFEST, text.as_bytes());
    })
}

/// The good manifest with some text replaced.
fn edited(from: &str, to: &str) -> Content {
    manifest(|parts| {
        let text = String::from_utf8(parts.manifest()).unwrap();
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

/// Another config in place of the good one, truly announced.
fn configured(text: impl Fn(&Parts) -> Vec<u8>) -> Content {
    content(|parts, content| {
        parts.config = text(parts);
        *content = parts.content();
    })
}

async fn refused(name: &str, content: Content, kind: Kind, words: &str) {
    let fake = Fake::start(move |asked| content.answer(asked));
    judge(name, &World::new(), &fake, kind, words).await;
}

async fn judge(name: &str, world: &World, fake: &Fake, kind: Kind, words: &str) {
    let (told_kind, text) =
        told(world.pull_as(fake, "a/b:1", password("canary-user", "canary-password")).await);
    assert_eq!(told_kind, kind, "{name}: {text}");
    assert!(text.contains(words), "{name}: {text}");
    assert!(
        !text.contains("canary") && text.len() < 3000 && !text.contains(char::is_control),
        "{name}: {text}"
    );
    world.is_empty(name);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_cannot_be() {
    let rows: Vec<(&str, Content, Kind, &str)> = vec![
        ("nothing there", Content::default(), Kind::NotFound, "404"),
        ("no JSON", manifest(|_| "<html>".into()), Kind::Corrupt, "no manifest"),
        ("both", edited("\"layers\"", "\"manifests\":[],\"layers\""), Kind::Corrupt, "and as an index"),
        (
            "schema 1",
            edited("\"schemaVersion\":2", "\"schemaVersion\":1"),
            Kind::Unsupported,
            "schema version 2",
        ),
        ("no layers", edited("\"layers\"", "\"lawyers\""), Kind::Corrupt, "absent"),
        ("a digest that climbs", edited("sha256:", "sha256:../../"), Kind::Corrupt, "sha256"),
        (
            "another algorithm",
            manifest(|parts| {
                let text = String::from_utf8(parts.manifest()).unwrap();
                text.replace(&digest_of(&parts.config).to_string(), &format!("sha512:{}", "0".repeat(128)))
            }),
            Kind::Unsupported,
            "sha512",
        ),
        ("no image", edited(CONFIG, "application/vnd.cncf.helm.config.v1+json"), Kind::Unsupported, "helm"),
        ("an unknown layer", edited("tar+gzip", "tar+xz"), Kind::Unsupported, "tar+xz"),
        ("config too large", edited("\"size\":", "\"size\":9999999"), Kind::Exhausted, "allowed"),
        (
            "a layer too few",
            manifest(|parts| {
                let text = String::from_utf8(parts.manifest()).unwrap();
                text.replace(&(",".to_owned() + &descriptor(&parts.layers[1].0, &parts.layers[1].1)), "")
            }),
            Kind::Corrupt,
            "2 diff_ids for 1 layers",
        ),
    ];
    for (name, content, kind, words) in rows {
        refused(name, content, kind, words).await;
    }
}

/// An index of one entry, under the tag.
fn index(content: &mut Content, entry: &str) -> Vec<u8> {
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).into_bytes();
    content.document("1", INDEX, &index);
    index
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_cannot_be() {
    let node = native();
    let rows: Vec<(&str, Content, Kind, &str)> = vec![
        (
            "for others",
            content(|parts, content| {
                index(content, &entry(&parts.manifest(), MANIFEST, "plan9", "mips"));
            }),
            Kind::NotFound,
            "only for plan9/mips",
        ),
        (
            "to nowhere",
            content(|_, content| {
                index(content, &entry(b"absent", MANIFEST, "linux", &node));
            }),
            Kind::NotFound,
            "404",
        ),
        (
            "a false size",
            content(|parts, content| {
                let good = entry(&parts.manifest(), MANIFEST, "linux", &node);
                index(content, &good.replace("\"size\":", "\"size\":1"));
            }),
            Kind::Corrupt,
            "announced",
        ),
        (
            "in an index in an index",
            content(|parts, content| {
                let mut inner = parts.manifest();
                for _ in 0..6 {
                    inner = index(content, &entry(&inner, INDEX, "linux", &node));
                }
            }),
            Kind::Corrupt,
            "without end",
        ),
        (
            "a false manifest",
            content(|parts, content| {
                let manifest = parts.manifest();
                index(content, &entry(&manifest, MANIFEST, "linux", &node));
                let path = format!("manifests/{}", digest_of(&manifest));
                content.0.get_mut(&path).unwrap().1[20] ^= 1;
            }),
            Kind::Corrupt,
            "has the digest",
        ),
    ];
    for (name, content, kind, words) in rows {
        refused(name, content, kind, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_configs_that_lie() {
    let other = gzip(&Tar::new().file("other", b"").end());
    let ids = |parts: &Parts| -> Vec<_> {
        orlop_image::ImageConfig::parse(digest_of(&parts.config), &parts.config).unwrap().diff_ids().to_vec()
    };
    let rows: Vec<(&str, Content, Kind, &str)> = vec![
        (
            "config",
            content(|parts, content| content.replace(&parts.config, vec![b' '; parts.config.len()])),
            Kind::Corrupt,
            "has the digest",
        ),
        (
            "config, cut",
            content(|parts, content| content.replace(&parts.config, b"{}".to_vec())),
            Kind::Corrupt,
            "announced",
        ),
        (
            "config, longer",
            content(|parts, content| content.replace(&parts.config, vec![b' '; 9999])),
            Kind::Corrupt,
            "announced",
        ),
        ("config, no JSON", configured(|_| b"no".to_vec()), Kind::Corrupt, "no image config"),
        (
            "config for another machine",
            configured(|parts| {
                String::from_utf8(parts.config.clone()).unwrap().replace(&native(), "vax").into_bytes()
            }),
            Kind::NotFound,
            "linux/vax",
        ),
        (
            "layer",
            content(|parts, content| {
                let mut blob = parts.layers[1].1.clone();
                *blob.last_mut().unwrap() ^= 1;
                content.replace(&parts.layers[1].1, blob);
            }),
            Kind::Corrupt,
            "blob sha256",
        ),
        (
            "layer, another one",
            content(|parts, content| content.replace(&parts.layers[0].1, other.clone())),
            Kind::Corrupt,
            "announced",
        ),
        (
            "layer, absent",
            content(|parts, content| {
                content.0.remove(&format!("blobs/{}", digest_of(&parts.layers[0].1)));
            }),
            Kind::NotFound,
            "404",
        ),
        (
            "diffID",
            configured(|parts| config(&[ids(parts)[1], ids(parts)[0]], "{}")),
            Kind::Corrupt,
            "unpacks to",
        ),
    ];
    for (name, content, kind, words) in rows {
        refused(name, content, kind, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_what_was_asked_for() {
    // By digest the registry cannot send what it likes; by tag it cannot say that it is something else.
    let good = content(|_, _| ());
    let (served, digest) = (good.clone(), digest_of(b"wanted"));
    let fake = Fake::start(move |asked| {
        let mut asked = asked.clone();
        asked.path = asked.path.replace(&digest.to_string(), "1");
        served.answer(&asked)
    });
    let world = World::new();
    let (kind, text) = told(world.pull_as(&fake, &format!("a/b@{digest}"), None).await);
    assert!(kind == Kind::Corrupt && text.contains("has the digest"), "{text}");
    let fake = Fake::start(move |asked| good.answer(asked).with("docker-content-digest", digest.to_string()));
    judge("a digest in a header", &world, &fake, Kind::Corrupt, "has the digest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_end() {
    for (part, kind, words) in [
        ("manifests", Kind::Exhausted, "more than 4194304 bytes"),
        (&digest_of(&Parts::small("x").config).hex(), Kind::Corrupt, "announced"),
        (&digest_of(&Parts::small("x").layers[0].1).hex(), Kind::Corrupt, "announced"),
    ] {
        let (good, part) = (Parts::small("x").content(), part.to_owned());
        let name = part.clone();
        let fake = Fake::start(move |asked| {
            if asked.path.contains(&part) {
                Reply { status: 200, headers: Vec::new(), body: Body::Endless(vec![b' '; 100_000]) }
            } else {
                good.answer(asked)
            }
        });
        judge(&name, &World::new(), &fake, kind, words).await;
    }
    let fake =
        Fake::start(|_| Reply { status: 404, headers: Vec::new(), body: Body::Endless(vec![0x1b; 100_000]) });
    judge("an error's text", &World::new(), &fake, Kind::NotFound, "404").await;
}

/// What a registry does in place of sending so many bytes.
type Bad = fn(usize) -> Body;

#[tokio::test(flavor = "multi_thread")]
async fn registries_that_never_begin_or_hardly_go_on() {
    let short = Patience {
        connect: Duration::from_millis(500),
        first_byte: Duration::from_millis(1500),
        idle: Duration::from_secs(2),
        window: Duration::from_secs(3),
        attempts: 2,
        ..patience()
    };
    let blob = Parts::small("x").layers[0].1.len();
    let rows: [(&str, &str, Bad); 4] = [
        ("no headers", "manifests", |_| Body::Mute),
        ("no manifest", "manifests", |_| Body::Silent(500)),
        ("no layer", "blobs", Body::Silent),
        ("a dripping manifest", "manifests", |_| Body::Drip(Duration::from_millis(200), 1 << 20)),
    ];
    for (name, part, body) in rows {
        let good = Parts::small("x").content();
        let config = digest_of(&Parts::small("x").config).hex();
        let fake = Fake::start(move |asked| {
            let bad = asked.path.contains(part) && !asked.path.contains(&config);
            if bad {
                Reply { status: 200, headers: Vec::new(), body: body(blob) }
            } else {
                good.answer(asked)
            }
        });
        judge(name, &World::with(short), &fake, Kind::NoRegistry, "for ").await;
    }
    let large = Parts::of(&[(Tar::new().file("f", &vec![1; 1 << 20]).end(), Compression::Plain)]);
    let (good, whole) = (large.content(), large.layers[0].1.len());
    let layer = digest_of(&large.layers[0].1).hex();
    let fake = Fake::start(move |asked| {
        let drips = asked.path.contains(&layer);
        let body = Body::Drip(Duration::from_millis(100), whole - asked.from().unwrap_or(0));
        if drips { Reply { status: 200, headers: Vec::new(), body } } else { good.answer(asked) }
    });
    judge(
        "a dripping layer",
        &World::with(Patience { attempts: 1, ..short }),
        &fake,
        Kind::NoRegistry,
        "too little",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_lie() {
    let parts = Parts::small("x");
    for range in ["bytes 0-9/10", "bytes 1-1/99999", ""] {
        let (good, blob) = (parts.content(), parts.layers[0].1.clone());
        let path = format!("/blobs/{}", digest_of(&blob));
        let fake = Fake::start(move |asked| match (asked.path.ends_with(&path), asked.from()) {
            (true, None) => {
                Reply { status: 200, headers: Vec::new(), body: Body::Cut(blob[..20].to_vec(), blob.len()) }
            }
            (true, Some(_)) => reply(206, blob.clone()).with("content-range", range),
            (false, _) => good.answer(asked),
        });
        judge(range, &World::new(), &fake, Kind::NoRegistry, "another range").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_lead_nowhere_they_should_not() {
    for (name, to, words) in [
        ("a circle", "/v2/again", "more than 10 times"),
        ("a file", "file:///etc/passwd", "neither http nor https"),
        ("link-local", "http://169.254.169.254/latest/meta-data", "link-local"),
        ("with a password", "http://u:p@127.0.0.1/", "password in it"),
        ("nowhere", "http://", "nowhere"),
    ] {
        let fake = Fake::start(move |_| reply(307, "").with("location", to));
        judge(name, &World::new(), &fake, Kind::NoRegistry, words).await;
        assert!(fake.asked().len() <= 11, "{name}: {} requests", fake.asked().len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_the_registry_goes_to_nobody_else() {
    let parts = Parts::small("x");
    let elsewhere = {
        let content = parts.content();
        Fake::start(move |asked| content.answer(asked))
    };
    let (content, other) = (parts.content(), elsewhere.host());
    let fake = Fake::start(move |asked| {
        if asked.header("authorization").is_none() {
            return reply(401, "").with("www-authenticate", "Basic realm=\"x\"");
        }
        if asked.path.contains("/blobs/") {
            reply(307, "").with("location", format!("http://{other}{}?sig=canary", asked.path))
        } else {
            content.answer(asked)
        }
    });
    let world = World::new();
    let host = fake.host();
    world.hosts(&host, &format!("server = \"http://{host}\"\n[header]\nx-key = \"canary\"\n"));
    let name = format!("{host}/a/b:1");
    world.pull_name(&name, password("u", "canary")).await.unwrap();
    assert!(fake.asked().iter().all(|asked| asked.header("x-key") == Some("canary")));
    assert_eq!(elsewhere.count("/blobs/"), 2);
    for asked in elsewhere.asked() {
        for header in ["authorization", "cookie", "x-key", "referer"] {
            assert_eq!(asked.header(header), None, "{header}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_posted_to_no_realm_without_tls_elsewhere() {
    let thief = Fake::start(|_| reply(200, r#"{"token":"t"}"#));
    for realm in [
        format!("http://{}/token", thief.host()),
        "ftp://x/".into(),
        "/token".into(),
        "https://u:p@127.0.0.1/".into(),
    ] {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\"");
        let fake = Fake::start(move |_| reply(401, "").with("www-authenticate", challenge.clone()));
        judge(&realm, &World::new(), &fake, Kind::NoRegistry, "place for tokens").await;
    }
    assert!(thief.asked().is_empty(), "{:?}", thief.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_end() {
    // 401 for ever, whatever is sent; and no word of what would be right.
    let fake = Fake::start(|_| reply(401, "no").with("www-authenticate", "Basic realm=\"x\""));
    judge("401 for ever", &World::new(), &fake, Kind::Denied, "401").await;
    assert_eq!(fake.asked().len(), 2);
    let fake = Fake::start(|asked| match asked.header("authorization") {
        None => reply(401, "").with("www-authenticate", "Basic realm=\"x\""),
        Some(sent) => reply(403, format!("{sent} is canary-password")),
    });
    judge("a password echoed", &World::new(), &fake, Kind::Denied, "(secret) is (secret)").await;
    let fake = Fake::start(|_| reply(401, ""));
    judge("401 without a reason", &World::new(), &fake, Kind::Denied, "says not which").await;
    let fake = Fake::start(|_| reply(503, "ill"));
    judge("503 for ever", &World::new(), &fake, Kind::NoRegistry, "503").await;
    assert_eq!(fake.asked().len(), 4);
    let fake = Fake::start(|_| reply(418, "\x1b[31mred\r\n"));
    judge("418", &World::new(), &fake, Kind::NoRegistry, "\\u{1b}[31mred").await;
    assert_eq!(fake.asked().len(), 1, "asking again would not help");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_nobody_is_spoken_to_without_tls() {
    let content = Parts::small("x").content();
    let fake = Fake::start(move |asked| content.answer(asked));
    let world = World::new();
    let (kind, text) =
        told(world.pull_name(&format!("{}/a/b:1", fake.host()), password("u", "canary")).await);
    assert_eq!(kind, Kind::NoRegistry, "{text}");
    assert!(fake.asked().iter().all(|asked| !asked.path.contains("/v2/")), "{:?}", fake.asked());
    world.is_empty("without a file");
}
