//! Where test vectors are.

use std::path::{Path, PathBuf};

/// The folder of third-party vectors called `name`, under the folder that `COUNTERFOIL_VECTORS` names.
///
/// `None`, said loudly, where there is none; a test then returns. In CI that is a failure, not a pass.
pub fn third_party_vectors(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("COUNTERFOIL_VECTORS").map(|root| PathBuf::from(root).join(name));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "COUNTERFOIL_VECTORS has no {name}");
        eprintln!("NOT TESTED: COUNTERFOIL_VECTORS has no {name}");
    }
    found
}

/// This project's own vectors: `(file name, content)` of every file in `test-vectors/<folder>` that ends in
/// `extension`, in the order of their names.
pub fn own_vectors(folder: &str, extension: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test-vectors").join(folder);
    let listing = std::fs::read_dir(&root).unwrap_or_else(|why| panic!("{}: {why}", root.display()));
    let mut names: Vec<String> = listing
        .map(|entry| entry.expect("a listing").file_name().into_string().expect("an ASCII file name"))
        .filter(|name| name.ends_with(extension))
        .collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| {
            let content = std::fs::read(root.join(&name)).expect("a listed file");
            (name, content)
        })
        .collect()
}
