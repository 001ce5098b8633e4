//! Image names and digests, to the grammar of the distribution project.
