//! The page that explains this adapter shows what is really in it.
#![allow(missing_docs, reason = "tests are described by their names")]

const PAGE: &str = include_str!("../../../docs/write-your-own-adapter.md");
const SOURCES: [&str; 8] = [
    include_str!("../src/dial.rs"),
    include_str!("../src/listen.rs"),
    include_str!("../src/node.rs"),
    include_str!("../src/watch.rs"),
    include_str!("bootstrap/mod.rs"),
    include_str!("behaviour.rs"),
    include_str!("process.rs"),
    include_str!("suite.rs"),
];

#[test]
fn all_rust_of_the_page_is_taken_from_the_adapter() {
    let blocks = PAGE.split("```rust\n").skip(1).map(|rest| rest.split("```").next());
    let blocks: Vec<&str> = blocks.flatten().collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(
            SOURCES.iter().any(|source| source.contains(block)),
            "not in the adapter:\n{block}"
        );
    }
}
