//! Accounts of images, friendly and hostile.

use orlop_model::report::Kind;

use super::*;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1::/usr/sbin:/bin/false\n\
    web:x:1000:1001:Web:/home/web:/bin/sh\n\
    empty:x:::nothing:/:/bin/sh\n\
    minus:x:-1:-1::/:/bin/sh\n\
    wrap:x:4294967296:4294967296::/:/bin/sh\n\
    none:x:4294967295:0::/:/bin/sh\n\
    words:x:zero:0::/:/bin/sh\n\
    short:x\n\
    nogid:x:77:::/:/bin/sh\n\
    relative:x:78:78::home:/bin/sh\n\
    last:x:1002:1002::/home/last:/bin/sh";
const GROUP: &[u8] = b"root:x:0:\nweb:x:1001:\naudio:x:29:web,daemon\nvideo:x:44:nobody,web\nbad:x::web\nodd:x:-5:web\nlast:x:9:web";

fn wish<'a>(user: &'a User, image_user: &'a str) -> Wish<'a> {
    Wish { user, image_user, group: None, supplemental: &[], policy: GroupsPolicy::Merge }
}

fn who(wish: &Wish<'_>) -> Result<Identity, Report> {
    resolve(wish, Some(PASSWD), Some(GROUP))
}

#[test]
fn an_image_names_its_user_in_five_ways() {
    let table = [
        ("", 0, 0, "/root", "root"),
        ("web", 1000, 1001, "/home/web", "web"),
        ("1000", 1000, 1001, "/home/web", "web"),
        ("web:audio", 1000, 29, "/home/web", "web"),
        ("1000:5", 1000, 5, "/home/web", "web"),
        ("4000", 4000, 0, "/", ""),
        ("4000:web", 4000, 1001, "/", ""),
        (":web", 0, 1001, "/root", "root"),
        ("last", 1002, 1002, "/home/last", "last"),
        ("relative", 78, 78, "/", "relative"),
    ];
    for (image, uid, gid, home, name) in table {
        let found = who(&wish(&User::Image, image)).expect(image);
        assert_eq!((found.uid, found.gid, &*found.home, &*found.username), (uid, gid, home, name), "{image}");
        assert_eq!(found.groups[0], gid, "{image}: the primary group comes first");
    }
}

#[test]
fn nobody_becomes_root_by_accident() {
    for name in [
        "empty",
        "minus",
        "wrap",
        "none",
        "words",
        "short",
        "nogid",
        "stranger",
        "-1",
        "4294967295",
        "4294967296",
        "0x0",
        "+0",
    ] {
        for user in [User::Image, User::Name(name.into())] {
            let refused = who(&wish(&user, name)).expect_err(name);
            assert_eq!(refused.kind, Kind::BadRequest, "{name}");
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }
    for group in ["web:bad", "web:odd", "web:stranger", "web:-1"] {
        let refused = who(&wish(&User::Image, group)).expect_err(group);
        assert!(refused.to_string().contains("/etc/group"), "{refused}");
    }
}

#[test]
fn a_number_is_looked_up_for_its_name_and_groups() {
    let user = User::Id(1000);
    let merged = who(&wish(&user, "")).expect("known");
    assert_eq!(merged.groups, [1001, 9, 29, 44]);
    let asked = Wish { supplemental: &[7, 44, 7, 1001], ..wish(&user, "") };
    assert_eq!(who(&asked).expect("known").groups, [1001, 7, 9, 29, 44]);
    let strict = Wish { policy: GroupsPolicy::Strict, ..asked };
    assert_eq!(who(&strict).expect("known").groups, [1001, 7, 44]);
    let grouped = Wish { group: Some(5), ..wish(&user, "") };
    assert_eq!(who(&grouped).expect("known").groups, [5, 9, 29, 44]);
}

#[test]
fn the_request_replaces_the_image() {
    let found = who(&wish(&User::Id(1), "web:audio")).expect("known");
    assert_eq!((found.uid, found.gid, found.groups), (1, 1, vec![1, 29]));
}

#[test]
fn a_group_needs_a_user() {
    let lonely = Wish { group: Some(5), ..wish(&User::Image, "") };
    assert_eq!(who(&lonely).expect_err("refused").stage, "config.linux.security_context.run_as_group");
}

#[test]
fn an_image_without_accounts_knows_numbers_and_root() {
    let bare = |user: &User, image| resolve(&wish(user, image), None, None);
    assert_eq!(bare(&User::Id(12), "").expect("number").home, "/");
    assert_eq!(bare(&User::Image, "root:root").expect("root").uid, 0);
    assert!(bare(&User::Image, "web").is_err());
    // With the files there, root has to be in them.
    assert!(resolve(&wish(&User::Image, "root"), Some(b"web:x:1:1::/:/bin/sh"), None).is_err());
}

#[test]
fn long_lines_and_many_fields_are_only_bytes() {
    let mut file = vec![b':'; 1 << 20];
    file.extend_from_slice(b"\nweb:x:1:2:::\n\0web:x:0:0::/:/bin/sh\n");
    let found = resolve(&wish(&User::Image, "web"), Some(&file), None).expect("found behind them");
    assert_eq!((found.uid, found.gid), (1, 2));
}
