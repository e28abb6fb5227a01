//! The copy of the tracked files in which lines are disabled.

use super::list::Pitfall;
use crate::{root, say, target_dir};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The copy and its own build directory.
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) target: PathBuf,
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}

impl Tree {
    /// Brings the copy up to date. Files that are the same keep their times, so that only what
    /// changed is built again.
    pub(super) fn copied() -> Result<Tree, String> {
        let base = target_dir().join("pitfalls");
        let tree = Tree {
            root: base.join("tree"),
            target: base.join("target"),
        };
        let mut files = tracked()?;
        if tree.root.starts_with(root()) {
            // Cargo finds ours above the copy; both together would be other flags.
            files.retain(|file| !file.starts_with(".cargo"));
        }
        for file in &files {
            let (from, to) = (root().join(file), tree.root.join(file));
            // A file that is deleted but not yet committed.
            let Ok(wanted) = std::fs::read(&from) else {
                continue;
            };
            if std::fs::read(&to).is_ok_and(|there| there == wanted) {
                continue;
            }
            if let Some(dir) = to.parent() {
                std::fs::create_dir_all(dir).map_err(failed(dir))?;
            }
            std::fs::write(&to, wanted).map_err(failed(&to))?;
        }
        std::fs::create_dir_all(&tree.root).map_err(failed(&tree.root))?;
        remove_others(&tree.root, &tree.root, &files)?;
        tree.seed()?;
        Ok(tree)
    }

    /// Dependencies that were built already need not be built again: their files are linked.
    fn seed(&self) -> Result<(), String> {
        let built = target_dir().join("debug");
        let own = self.target.join("debug");
        if own.exists() || !built.exists() {
            return Ok(());
        }
        say("linking what is built already ...");
        // Cargo writes over the files of the first two; over libraries only of our own packages.
        for part in ["build", ".fingerprint"] {
            copy_all(&built.join(part), &own.join(part))?;
        }
        let deps = own.join("deps");
        std::fs::create_dir_all(&deps).map_err(failed(&deps))?;
        let from = built.join("deps");
        for entry in std::fs::read_dir(&from).map_err(failed(&from))? {
            let entry = entry.map_err(failed(&from))?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.starts_with("lib") && !text.contains("steadfast") {
                let to = deps.join(&name);
                std::fs::hard_link(entry.path(), &to).map_err(failed(&to))?;
            }
        }
        Ok(())
    }

    /// The text of a pitfall's file with its line disabled.
    pub(super) fn disabled(&self, pitfall: &Pitfall) -> Result<String, String> {
        let path = self.root.join(pitfall.file);
        let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
        replaced(&text, pitfall)
    }

    /// Changes a file until the result is dropped.
    pub(super) fn replace(&self, file: &str, text: &str) -> Result<Replaced, String> {
        let path = self.root.join(file);
        let before = std::fs::read(&path).map_err(failed(&path))?;
        let replaced = Replaced {
            path: path.clone(),
            before,
        };
        std::fs::write(&path, text).map_err(failed(&path))?;
        Ok(replaced)
    }
}

/// Puts a file back when dropped; with a new time, so that it is built again.
pub(super) struct Replaced {
    path: PathBuf,
    before: Vec<u8>,
}

impl Drop for Replaced {
    fn drop(&mut self) {
        // The next copy would put it right too.
        std::fs::write(&self.path, &self.before).ok();
    }
}

/// A text in which the pitfall's line is disabled; the line must be there exactly once.
pub(super) fn replaced(text: &str, pitfall: &Pitfall) -> Result<String, String> {
    match text.matches(pitfall.from).count() {
        1 => Ok(text.replacen(pitfall.from, pitfall.to, 1)),
        count => Err(format!(
            "pitfall {} ({}): its line is {count} times in {}, not once:\n{}",
            pitfall.number, pitfall.line, pitfall.file, pitfall.from
        )),
    }
}

/// Copies a folder with all times, by which cargo tells what is fresh.
fn copy_all(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::create_dir_all(to).map_err(failed(to))?;
    for entry in std::fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_all(&path, &to)?;
            continue;
        }
        std::fs::copy(&path, &to).map_err(failed(&to))?;
        let metadata = entry.metadata().map_err(failed(&path))?;
        let modified = metadata.modified().map_err(failed(&path))?;
        let copied = std::fs::File::options().write(true).open(&to);
        copied
            .and_then(|copied| copied.set_modified(modified))
            .map_err(failed(&to))?;
    }
    Ok(())
}

fn tracked() -> Result<BTreeSet<PathBuf>, String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .map_err(|error| format!("git ls-files: {error}"))?;
    if !listed.status.success() {
        return Err(String::from_utf8_lossy(&listed.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&listed.stdout);
    let files = text.split('\0').filter(|file| !file.is_empty());
    Ok(files.map(PathBuf::from).collect())
}

/// Removes what is in the copy but is no longer tracked.
fn remove_others(tree: &Path, dir: &Path, files: &BTreeSet<PathBuf>) -> Result<(), String> {
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        if path.is_dir() {
            remove_others(tree, &path, files)?;
        } else if path
            .strip_prefix(tree)
            .is_ok_and(|file| !files.contains(file))
        {
            std::fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}
