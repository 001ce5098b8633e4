//! What is an image name, what is none, and why.

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[track_caller]
fn means(typed: &str, canonical: &str) -> Reference {
    let reference: Reference = typed.parse().unwrap_or_else(|error| panic!("{typed}: {error}"));
    assert_eq!(reference.to_string(), canonical, "{typed}");
    let again: Reference = canonical.parse().unwrap();
    assert_eq!(again, reference, "the canonical form of {typed} means the same");
    reference
}

#[test]
fn short_names_are_completed_as_docker_does() {
    for (typed, canonical) in [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("user/tool", "docker.io/user/tool:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        ("[2001:db8::1]/a", "[2001:db8::1]/a:latest"),
        ("Registry/x", "Registry/x:latest"),
        ("quay.example/a/b/c/d:V_1.2-x", "quay.example/a/b/c/d:V_1.2-x"),
        ("xn--n3h.example/x", "xn--n3h.example/x:latest"),
        ("a1/0b", "docker.io/a1/0b:latest"),
        ("name:5000", "docker.io/library/name:5000"),
    ] {
        means(typed, canonical);
    }
}

#[test]
fn separators_inside_a_part() {
    means("x/a.b_c__d-e---f", "docker.io/x/a.b_c__d-e---f:latest");
    for bad in [
        "x/a..b", "x/a___b", "x/.a", "x/a.", "x/-a", "x/a-", "x/_a", "x/a_", "x/a._b", "x/a-.b", "x//a",
        "x/", "/x", "x/a b", "x/ä",
    ] {
        assert_eq!(bad.parse::<Reference>(), Err(NotAName::Repository), "{bad}");
    }
}

#[test]
fn a_digest_decides_and_brings_no_tag() {
    let only =
        means(&format!("127.0.0.1:5000/a/b@sha256:{HEX}"), &format!("127.0.0.1:5000/a/b@sha256:{HEX}"));
    assert_eq!((only.tag(), only.digest()), (None, Digest::from_hex(HEX)));
    assert_eq!(
        (only.registry(), only.repository(), only.name()),
        ("127.0.0.1:5000", "a/b", "127.0.0.1:5000/a/b")
    );
    let both = means(&format!("b:tag@sha256:{HEX}"), &format!("docker.io/library/b:tag@sha256:{HEX}"));
    assert_eq!((both.tag(), both.by_tag()), (Some("tag"), None));
    let tagged = means("b:tag", "docker.io/library/b:tag");
    assert_eq!(tagged.by_tag().as_deref(), Some("docker.io/library/b:tag"));
    assert_eq!(tagged.by_digest(only.digest().unwrap()), format!("docker.io/library/b@sha256:{HEX}"));
}

#[test]
fn each_fault_is_called_by_its_name() {
    let sha512 = format!("x@sha512:{HEX}{HEX}");
    let digits = |n| format!("x@sha256:{}", &HEX[..n]);
    let long = format!("host.example/{}", "a".repeat(243));
    for (bad, why) in [
        ("", NotAName::Empty),
        (":tag", NotAName::Empty),
        (&format!("@sha256:{HEX}"), NotAName::Empty),
        (HEX, NotAName::Id),
        ("Busybox", NotAName::UpperCase),
        ("host.example/Busybox", NotAName::UpperCase),
        ("a:", NotAName::Tag),
        ("a:.x", NotAName::Tag),
        ("a:-x", NotAName::Tag),
        ("a:b c", NotAName::Tag),
        (&format!("a:{}", "t".repeat(129)), NotAName::Tag),
        ("-a.example/x", NotAName::Registry),
        ("a..example/x", NotAName::Registry),
        ("host:port/x", NotAName::Registry),
        ("host:/x", NotAName::Registry),
        ("host:65536/x", NotAName::Registry),
        ("[::1/x", NotAName::Registry),
        ("[::1]5000/x", NotAName::Registry),
        ("[zz:1]:5/x", NotAName::Registry),
        ("https://host.example/x", NotAName::Registry),
        ("host.example/../x", NotAName::Repository),
        ("a@b", NotAName::Digest(NotADigest::Malformed)),
        (&digits(63), NotAName::Digest(NotADigest::Malformed)),
        (&format!("x@sha256:{}", HEX.to_uppercase()), NotAName::Digest(NotADigest::Malformed)),
        (&format!("x@sha256:{HEX}@sha256:{HEX}"), NotAName::Digest(NotADigest::Malformed)),
        (&format!("x@sha256:../{}", &HEX[3..]), NotAName::Digest(NotADigest::Malformed)),
        (&sha512, NotAName::Digest(NotADigest::Unsupported("sha512"))),
        (&long, NotAName::TooLong(256)),
    ] {
        assert_eq!(bad.parse::<Reference>(), Err(why), "{bad}");
    }
    assert!(long[..long.len() - 1].parse::<Reference>().is_ok(), "255 bytes are allowed");
    assert!(format!("a:{}", "t".repeat(128)).parse::<Reference>().is_ok(), "128 bytes of a tag are allowed");
}

#[test]
fn digests_are_read_and_shown() {
    let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
    assert_eq!(digest.to_string(), format!("sha256:{HEX}"));
    assert_eq!((digest.hex(), format!("{digest:?}")), (HEX.to_owned(), HEX[..12].to_owned()));
    assert_eq!(Digest::from_sha256(*digest.as_bytes()), digest);
    for bad in
        [HEX, "", "sha256:", "sha512:00", "md5:00", &format!("SHA256:{HEX}"), &format!("sha256:{HEX} ")]
    {
        assert_eq!(bad.parse::<Digest>(), Err(NotADigest::Malformed), "{bad}");
    }
}
