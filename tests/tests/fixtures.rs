//! The fixtures themselves: what they put into a registry is there.
//!
//! *Invariant:* each test has a registry of its own.

use orlop_tests::http;
use orlop_tests::image::{Flavour, Image};
use orlop_tests::layer::{Packing, Tree};
use orlop_tests::place::Place;
use orlop_tests::registry::Registry;
use orlop_tests::{busybox, hash};

fn small(flavour: Flavour, packing: Packing) -> Image {
    Image::new(flavour, vec![Tree::new().file("hello", 0o644, "hello").pack(packing)])
}

#[test]
fn every_form_of_image_goes_into_a_registry_and_out_again() {
    let registry = Registry::start();
    for flavour in [Flavour::Oci, Flavour::Docker] {
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let tag = format!("{flavour:?}-{packing:?}").to_lowercase();
            let image = small(flavour, packing);
            let digest = registry.push("some/image", &tag, &image);
            let accept = [("Accept", flavour.manifest())];
            let got = http::send(
                &registry.address,
                "GET",
                &format!("/v2/some/image/manifests/{tag}"),
                &accept,
                b"",
            );
            let got = got.expect("an answer");
            assert_eq!((got.status, hash::digest(&got.body)), (200, digest), "{tag}");
            let blob = hash::digest(&image.layers[0].bytes);
            let got = http::send(&registry.address, "GET", &format!("/v2/some/image/blobs/{blob}"), &[], b"");
            assert_eq!(got.expect("an answer").body, image.layers[0].bytes, "{tag}");
        }
    }
}

#[test]
fn an_index_names_an_image_for_each_architecture() {
    let registry = Registry::start();
    for flavour in [Flavour::Oci, Flavour::Docker] {
        let mut other = small(flavour, Packing::Gzip);
        other.architecture = "riscv64".into();
        let repository = format!("{flavour:?}").to_lowercase();
        let digest = registry.push_index(&repository, "1", flavour, &[other, small(flavour, Packing::Gzip)]);
        let accept = [("Accept", flavour.index())];
        let got = http::send(
            &registry.address,
            "GET",
            &format!("/v2/{repository}/manifests/{digest}"),
            &accept,
            b"",
        );
        let got = got.expect("an answer");
        assert_eq!((got.status, got.header("content-type")), (200, Some(flavour.index())));
    }
}

#[test]
fn a_guarded_registry_lets_in_who_knows_the_word() {
    let registry = Registry::start_guarded();
    registry.push("secret", "1", &small(Flavour::Oci, Packing::Gzip));
    let refused =
        http::send(&registry.address, "GET", "/v2/secret/manifests/1", &[], b"").expect("an answer");
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Basic")));
}

#[test]
fn a_registry_ends_with_its_test_and_leaves_nothing() {
    let registry = Registry::start();
    let (address, certs) = (registry.address.clone(), registry.certs_directory());
    let hosts = std::fs::read_to_string(certs.join(&address).join("hosts.toml")).expect("a file");
    assert!(hosts.contains(&format!("http://{address}")));
    drop(registry);
    assert!(http::send(&address, "GET", "/v2/", &[], b"").is_err());
    assert!(!certs.exists());
}

#[test]
fn a_layout_on_disk_names_all_its_blobs() {
    let place = Place::new("layout");
    let image = busybox::image(Flavour::Oci, Packing::Gzip);
    image.write_layout(place.path(), "latest");
    for blob in image.blobs().iter().chain([&image.manifest()]) {
        let name = hash::digest(blob).replace("sha256:", "blobs/sha256/");
        assert_eq!(&std::fs::read(place.join(name)).expect("a file"), blob);
    }
    let index = std::fs::read_to_string(place.join("index.json")).expect("a file");
    assert!(index.contains(&hash::digest(&image.manifest())));
}
