//! Nothing that a document says is ignored in silence: what is written is read, and what is read is used. Looked
//! at over the corpus, and over the documents in `$WARREN_CONFORMANCE` where that is set.

#![expect(unreachable_pub, reason = "a test has no outside; `pub` is what a file offers the others")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod argv;
#[path = "../conformance/planned.rs"]
#[expect(dead_code, reason = "what is compared with libvirt is asked for there alone")]
mod conformance_planned;
#[path = "../conformance/kept.rs"]
mod kept;
mod planned;
mod read;
mod words;
