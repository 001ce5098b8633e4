//! The compiled interface is the one of the table runtime/v1/cri-v1.tsv, row by row, and nothing besides; what is committed as
//! generated is what the .proto files say.
//!
//! *Invariant:* the descriptor is read, never the text of a .proto file. Nothing in the tree is written.

#[path = "../examples/generate/compile.rs"]
mod compile;

use std::collections::BTreeSet;
use std::path::Path;

use protox::prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};

const PACKAGE: &str = "runtime.v1";

fn pool() -> DescriptorPool {
    let compiler = compile::descriptors(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the files compile");
    compiler.descriptor_pool()
}

fn table() -> BTreeSet<String> {
    let text = include_str!("../runtime/v1/cri-v1.tsv");
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// A type's name as the table writes it: without the package, and of nested types the last part only.
fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.name().to_owned(),
        Kind::Enum(of) => of.name().to_owned(),
        Kind::Double => "double".into(),
        Kind::Int32 => "int32".into(),
        Kind::Int64 => "int64".into(),
        Kind::Uint32 => "uint32".into(),
        Kind::Uint64 => "uint64".into(),
        Kind::Bool => "bool".into(),
        Kind::String => "string".into(),
        Kind::Bytes => "bytes".into(),
        other => panic!("the interface has no {other:?}"),
    }
}

fn marked(field: &FieldDescriptor, option: &str) -> bool {
    let options = field.options();
    let set = options.get_field_by_name(option).unwrap_or_else(|| panic!("descriptor.proto knows {option}"));
    set.as_bool().expect("a flag")
}

fn rpc_row(method: &MethodDescriptor) -> String {
    assert!(!method.is_client_streaming());
    let stream = if method.is_server_streaming() { "stream " } else { "" };
    format!(
        "rpc\t{}\t{}\t{}\t{stream}{}",
        method.parent_service().name(),
        method.name(),
        method.input().name(),
        method.output().name()
    )
}

fn field_row(field: &FieldDescriptor) -> String {
    let (label, kind) = if field.is_map() {
        let Kind::Message(entry) = field.kind() else { panic!("a map is a message") };
        let [key, value] = [entry.map_entry_key_field(), entry.map_entry_value_field()];
        ("map", format!("map<{},{}>", type_name(&key.kind()), type_name(&value.kind())))
    } else if field.cardinality() == Cardinality::Repeated {
        ("repeated", type_name(&field.kind()))
    } else if field.field_descriptor_proto().proto3_optional() {
        ("optional", type_name(&field.kind()))
    } else {
        ("singular", type_name(&field.kind()))
    };
    let mut row = format!(
        "field\t{}\t{}\t{}\t{label}\t{kind}",
        local(field.parent_message().full_name()),
        field.name(),
        field.number()
    );
    for option in ["debug_redact", "deprecated"] {
        if marked(field, option) {
            row = format!("{row}\t{option}");
        }
    }
    row
}

fn local(full_name: &str) -> &str {
    full_name.strip_prefix(PACKAGE).expect("of this package").trim_start_matches('.')
}

fn message_rows(message: &MessageDescriptor, rows: &mut BTreeSet<String>) {
    if message.fields().len() == 0 {
        rows.insert(format!("message\t{}", local(message.full_name())));
    }
    rows.extend(message.fields().map(|field| field_row(&field)));
}

fn enum_rows(of: &EnumDescriptor, rows: &mut BTreeSet<String>) {
    rows.extend(
        of.values()
            .map(|value| format!("enum\t{}\t{}\t{}", local(of.full_name()), value.name(), value.number())),
    );
}

#[test]
fn the_interface_is_the_table_and_nothing_besides() {
    let pool = pool();
    let mut rows = BTreeSet::new();
    for service in pool.services().filter(|service| service.package_name() == PACKAGE) {
        rows.extend(service.methods().map(|method| rpc_row(&method)));
    }
    let ours = |package: &str| package == PACKAGE;
    for message in pool.all_messages().filter(|m| ours(m.package_name()) && !m.is_map_entry()) {
        message_rows(&message, &mut rows);
    }
    for of in pool.all_enums().filter(|of| ours(of.package_name())) {
        enum_rows(&of, &mut rows);
    }
    let table = table();
    let missing: Vec<_> = table.difference(&rows).collect();
    let besides: Vec<_> = rows.difference(&table).collect();
    assert!(missing.is_empty() && besides.is_empty(), "missing: {missing:#?}\nbesides: {besides:#?}");
}

#[test]
fn the_table_is_whole() {
    let count = |kind: &str| table().iter().filter(|row| row.split('\t').next() == Some(kind)).count();
    assert_eq!((count("rpc"), count("field"), count("enum"), count("message")), (43, 478, 95, 18));
}

/// Every message that has a field marked `debug_redact` is one whose Debug is written by hand.
#[test]
fn marked_fields_are_redacted() {
    for message in pool().all_messages() {
        let secret = message.fields().any(|field| marked(&field, "debug_redact"));
        let by_hand = compile::SECRET.contains(&format!(".{}", message.full_name()).as_str());
        assert!(by_hand || !secret, "{} is not in SECRET", message.full_name());
    }
}

#[test]
fn generated_code_is_fresh() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    compile::compile(here, out.path()).unwrap();
    let committed = here.join("src/generated");
    let names = |directory: &Path| {
        let mut names: Vec<_> =
            directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(out.path()), names(&committed));
    for name in names(&committed) {
        let fresh = std::fs::read_to_string(out.path().join(&name)).unwrap();
        let kept = std::fs::read_to_string(committed.join(&name)).unwrap();
        assert!(fresh == kept, "{} is stale: cargo run -p orlop-proto --example generate", name.display());
    }
}
