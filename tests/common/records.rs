//! What a daemon does before it starts a child, for tests that use the library alone.

/// Gives the records of children a place, once in a process.
pub(crate) async fn begin() {
    static BEGUN: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let begin = async || {
        let dir = tempfile::tempdir().expect("a temporary directory can be made").keep();
        warren::sys::process::keep_records(&dir).await.expect("records can be kept there");
    };
    BEGUN.get_or_init(begin).await;
}
