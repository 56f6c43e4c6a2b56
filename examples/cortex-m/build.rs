//! Tells the linker of the memory, and makes the core's scripted tests a part of the image.
//!
//! The tests are those of `raft-core/tests`, word for word, but for the attribute that only the
//! test harness of the standard library understands, and a prelude that stands in for the one of
//! that library. Files with properties are left out: they need a generator of random cases.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const PRELUDE: &str = "#[allow(unused_imports)]\nuse crate::scripted::prelude::*;\n";

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::copy("memory.x", out.join("memory.x"))?;
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rerun-if-changed=build.rs");
    scripted_tests(Path::new("../../raft-core/tests"), &out)
}

/// Writes `scripted.rs` with a module for each file and `TESTS`, the list of all tests.
fn scripted_tests(from: &Path, out: &Path) -> io::Result<()> {
    let from = from.canonicalize()?;
    println!("cargo::rerun-if-changed={}", from.display());
    fs::create_dir_all(out.join("common"))?;
    for (name, text) in sources(&from.join("common"))? {
        fs::write(out.join("common").join(format!("{name}.rs")), with_prelude(&text))?;
    }
    let mut modules = format!("#[path = {:?}]\nmod common;\n", out.join("common/mod.rs"));
    let mut list = String::new();
    for (name, text) in sources(&from)? {
        if text.contains("proptest!") {
            continue;
        }
        let path = out.join(format!("{name}.rs"));
        writeln!(modules, "#[path = {path:?}]\nmod {name};").map_err(io::Error::other)?;
        for test in text.split("#[test]\nfn ").skip(1) {
            let test = test.split('(').next().unwrap_or_default();
            writeln!(list, "(\"{name}::{test}\", {name}::{test}),").map_err(io::Error::other)?;
        }
        let text = text
            .replace("#[test]\nfn ", "pub(super) fn ")
            .replace("\nmod common;\n", "\nuse super::common;\n")
            .replace("include_str!(\"", &format!("include_str!(\"{}/", from.display()));
        fs::write(path, with_prelude(&text))?;
    }
    let tests = format!("pub(crate) const TESTS: &[(&str, fn())] = &[\n{list}];\n");
    fs::write(out.join("scripted.rs"), modules + &tests)
}

/// The files of a directory in order, by name without ending.
fn sources(directory: &Path) -> io::Result<Vec<(String, String)>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "rs")
            && let Some(name) = path.file_stem()
        {
            sources.push((name.to_string_lossy().into_owned(), fs::read_to_string(&path)?));
        }
    }
    sources.sort();
    Ok(sources)
}

/// The text with the prelude before its first item.
fn with_prelude(text: &str) -> String {
    let is_inner =
        |line: &&str| line.is_empty() || line.starts_with("//!") || line.starts_with("#![");
    let head: usize =
        text.split_inclusive('\n').take_while(|it| is_inner(&it.trim_end())).map(str::len).sum();
    let (head, rest) = text.split_at(head);
    [head, PRELUDE, rest].concat()
}
