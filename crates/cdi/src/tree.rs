//! A file's text, JSON or YAML, with the line of each value.
//!
//! *Invariant:* bounded, whatever comes: so many values, so deep, aliases counted as what they stand for.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::file::Fault;

/// More values than this are in no file.
const MOST: usize = 100_000;
/// Deeper than this is no file.
const DEEPEST: usize = 32;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Which line it begins in.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// `plain`: not in quotes, so it may be a number or a truth.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Tree>),
    /// Name, its line, value.
    Map(Vec<(String, usize, Tree)>),
}

impl Tree {
    fn size(&self) -> usize {
        match &self.value {
            Value::Null | Value::Scalar { .. } => 1,
            Value::List(all) => 1 + all.iter().map(Tree::size).sum::<usize>(),
            Value::Map(all) => 1 + all.iter().map(|(_, _, tree)| tree.size()).sum::<usize>(),
        }
    }

    /// What it is, in a word.
    pub(crate) fn what(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }
}

fn fault(line: usize, cause: impl Into<String>) -> Fault {
    Fault { line, place: String::new(), cause: cause.into() }
}

/// The only value of a file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Tree, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        fault(1 + before.matches('\n').count(), "it is no UTF-8")
    })?;
    // Tabs between JSON's values are spaces there, and nothing in YAML; within its strings there are none.
    let spaced = text.trim_start().starts_with('{').then(|| text.replace('\t', " "));
    let mut build = Build { open: Vec::new(), anchors: HashMap::new(), root: None, count: 0 };
    for event in Parser::new_from_str(spaced.as_deref().unwrap_or(text)) {
        let (event, span) = event.map_err(|error: ScanError| fault(error.marker().line(), error.info()))?;
        build.take(event, span)?;
    }
    build.root.ok_or_else(|| fault(1, "there is nothing in it"))
}

/// A list or an object that is not closed yet.
struct Open {
    line: usize,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Tree>),
    /// With the name whose value comes next.
    Map(Vec<(String, usize, Tree)>, Option<(String, usize)>),
}

struct Build {
    open: Vec<Open>,
    anchors: HashMap<usize, Tree>,
    root: Option<Tree>,
    count: usize,
}

impl Build {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Scalar { text: text.into_owned(), plain } };
                self.put(Tree { line, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, Inside::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(line, anchor, Inside::Map(Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { line, anchor, inside }) = self.open.pop() else { return Ok(()) };
                let value = match inside {
                    Inside::List(all) => Value::List(all),
                    Inside::Map(all, _) => Value::Map(all),
                };
                self.put(Tree { line, value }, anchor)
            }
            Event::Alias(anchor) => {
                let tree = self.anchors.get(&anchor).cloned();
                // One that stands within what it names has no value yet.
                self.put(tree.ok_or_else(|| fault(line, "an alias of what is not there yet"))?, 0)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, inside: Inside) -> Result<(), Fault> {
        if self.open.len() >= DEEPEST {
            return Err(fault(line, format!("more than {DEEPEST} values within each other")));
        }
        self.open.push(Open { line, anchor, inside });
        Ok(())
    }

    fn put(&mut self, tree: Tree, anchor: usize) -> Result<(), Fault> {
        self.count += tree.size();
        if self.count > MOST {
            return Err(fault(tree.line, format!("more than {MOST} values")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, tree.clone());
        }
        let Some(open) = self.open.last_mut() else {
            if self.root.is_some() {
                return Err(fault(tree.line, "a second document"));
            }
            self.root = Some(tree);
            return Ok(());
        };
        match &mut open.inside {
            Inside::List(all) => all.push(tree),
            Inside::Map(all, next) => {
                let Some((name, line)) = next.take() else {
                    let line = tree.line;
                    let Value::Scalar { text, .. } = tree.value else {
                        return Err(fault(line, format!("{} as a name", tree.what())));
                    };
                    if all.iter().any(|(known, _, _)| *known == text) {
                        return Err(fault(line, format!("{text:?} stands there twice")));
                    }
                    *next = Some((text, line));
                    return Ok(());
                };
                all.push((name, line, tree));
            }
        }
        Ok(())
    }
}
