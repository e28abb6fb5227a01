//! Each dependency's licence must be one that an Apache-2.0 project may use, and what our safety
//! depends on must be pinned exactly.

use crate::{root, say};
use serde_json::Value;
use std::process::Command;

/// SPDX names. MPL-2.0 binds changes to the files of the library itself, which we do not change.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "MPL-2.0+",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Packages that name a file instead of a licence, and what it was seen to be.
const SEEN: &[(&str, &str)] = &[("temporalio-protos", "MIT")];
/// What must be written `=x.y.z`: their behaviour is part of our safety argument.
const PINNED: &[&str] = &[
    "bincode",
    "openraft",
    "openraft-macros",
    "openraft-rt",
    "openraft-rt-tokio",
    "sled",
    "temporalio-protos",
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What cargo knows of the workspace and its dependencies.
pub(crate) fn metadata() -> Result<Value, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// Checks all packages.
pub(crate) fn check() -> Result<(), String> {
    let metadata = metadata()?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata: no packages")?;
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if let Some(why) = licence_fault(package, name) {
            wrong.push(why);
        }
        if package["source"].is_null() {
            wrong.extend(pin_faults(package, name));
        }
    }
    if wrong.is_empty() {
        say(&format!(
            "{} packages: licences and pins are as they must be",
            packages.len()
        ));
        return Ok(());
    }
    Err(wrong.join("\n"))
}

fn licence_fault(package: &Value, name: &str) -> Option<String> {
    let version = package["version"].as_str().unwrap_or_default();
    match package["source"].as_str() {
        None | Some(REGISTRY) => {}
        Some(other) => return Some(format!("{name} {version} comes from {other}")),
    }
    let seen = SEEN
        .iter()
        .find(|(seen, _)| *seen == name)
        .map(|(_, licence)| *licence);
    match package["license"].as_str().or(seen) {
        Some(licence) if is_allowed(licence) => None,
        Some(licence) => Some(format!(
            "{name} {version}: licence `{licence}` is not allowed"
        )),
        None => Some(format!("{name} {version}: no licence named")),
    }
}

fn pin_faults(package: &Value, name: &str) -> Vec<String> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter_map(|dependency| {
            let other = dependency["name"].as_str()?;
            let requirement = dependency["req"].as_str()?;
            (PINNED.contains(&other) && !requirement.starts_with('='))
                .then(|| format!("{name} takes {other} {requirement}: it must be pinned with `=`"))
        })
        .collect()
}

/// Whether an SPDX expression leaves a choice that is allowed: one side of each OR, both of AND.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let allowed = any_of(&words, &mut at);
    allowed && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> bool {
    let mut allowed = all_of(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        allowed |= all_of(words, at);
    }
    allowed
}

fn all_of(words: &[&str], at: &mut usize) -> bool {
    let mut allowed = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        allowed &= one(words, at);
    }
    allowed
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let allowed = any_of(words, at);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return allowed && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        // An exception only ever permits more.
        *at += 2;
    }
    ALLOWED.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT",
            "",
            "MIT MIT",
            "BUSL-1.1",
        ] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }
}
