//! `<seclabel>` of a source. Owns libvirt's words for it. Warren labels no file, so only what asks for nothing
//! can be had.

use super::words::YES_NO;
use crate::xml::view::View;

/// Takes a label: `relabel='no'` is what Warren does anyway, a label of its own is not to be had.
pub(super) fn read(view: &View<'_>) {
    view.attr("model");
    view.attr("labelskip");
    let relabel = view.one_of("relabel", YES_NO);
    let label = view.child("label");
    if let Some(label) = &label {
        label.accept();
    }
    if label.is_some() || relabel == Some(true) {
        view.unsupported("Warren does not label what a guest uses", "write relabel='no', or leave it out");
    }
}
