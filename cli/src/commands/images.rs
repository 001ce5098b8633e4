//! `orlop images`: images, a line a name.

use std::io::Write as _;

use clap::Args;
use orlop_proto::runtime::v1::Image;

use crate::args::{Format, Listing};
use crate::client::Daemon;
use crate::failure::Failure;
use crate::render::table::Table;
use crate::render::{json, size, text};
use crate::shape;

/// Its flags.
#[derive(Debug, Args)]
pub(crate) struct Images {
    #[command(flatten)]
    listing: Listing,
}

impl Images {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let mut images = daemon.list_images().await?;
        images.sort_by_cached_key(|image| {
            let mut tags = image.repo_tags.clone();
            tags.sort();
            // Those without a name come last.
            (tags.is_empty(), tags, image.id.clone())
        });
        let (mut out, paint) = super::output();
        let Listing { quiet, output, no_trunc } = self.listing;
        if quiet {
            for image in &images {
                writeln!(out, "{}", text::escape(text::id(&image.id, no_trunc)))?;
            }
        } else if output == Format::Json {
            for image in &images {
                json::line(&mut out, &shape::image::whole(image))?;
            }
        } else {
            table(&images, no_trunc).write(&mut out, paint)?;
        }
        out.flush()?;
        Ok(0)
    }
}

fn table(images: &[Image], whole: bool) -> Table {
    let mut rows: Vec<(String, String, &Image)> = images
        .iter()
        .flat_map(|image| names(image).into_iter().map(move |(name, tag)| (name, tag, image)))
        .collect();
    rows.sort_by(|a, b| (a.0 == NONE, &a.0, &a.1, &a.2.id).cmp(&(b.0 == NONE, &b.0, &b.1, &b.2.id)));
    let mut table = Table::new(&["IMAGE", "TAG", "ID", "SIZE", "PINNED"]);
    for (name, tag, image) in rows {
        let pinned = if image.pinned { "pinned" } else { "" };
        let id = text::id(&image.id, whole);
        table.row([name.into(), tag.into(), id.into(), size::words(image.size).into(), pinned.into()]);
    }
    table
}

/// What an image without a name or a tag is shown with.
const NONE: &str = "<none>";

/// Name and tag, as often as the image has some; else of what it was pulled by digest; else nothing.
fn names(image: &Image) -> Vec<(String, String)> {
    let tagged = image.repo_tags.iter().map(|name| match name.rsplit_once(':') {
        // A colon before a slash belongs to a port.
        Some((name, tag)) if !tag.contains('/') => (name.to_owned(), tag.to_owned()),
        Some(_) | None => (name.clone(), NONE.to_owned()),
    });
    let mut names: Vec<(String, String)> = tagged.collect();
    if names.is_empty() {
        let name = image.repo_digests.first().and_then(|name| name.split_once('@'));
        names.push((name.map_or(NONE, |(name, _)| name).to_owned(), NONE.to_owned()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        let image = |tags: &[&str], digests: &[&str]| Image {
            repo_tags: tags.iter().map(ToString::to_string).collect(),
            repo_digests: digests.iter().map(ToString::to_string).collect(),
            ..Image::default()
        };
        let pair = |name: &str, tag: &str| (name.to_owned(), tag.to_owned());
        assert_eq!(
            names(&image(&["localhost:5000/a:1", "localhost:5000/b"], &[])),
            [pair("localhost:5000/a", "1"), pair("localhost:5000/b", "<none>")]
        );
        assert_eq!(names(&image(&[], &["a/b@sha256:00"])), [pair("a/b", "<none>")]);
        assert_eq!(names(&image(&[], &[])), [pair("<none>", "<none>")]);
    }
}
