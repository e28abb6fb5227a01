//! Installs the official SDKs for the tests, in exact versions, into the build directory.

use crate::{root, say, target_dir};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says what was installed; written last, so that a broken installation is made again.
const STAMP: &str = "installed";

/// Installs what is missing; a second call only refreshes the test programs.
pub(crate) fn install() -> Result<(), String> {
    let sources = root().join("tests/sdk");
    let folder = target_dir().join("sdk");
    let typescript = folder.join("typescript");
    make(&typescript)?;
    for path in files(&sources.join("typescript"))? {
        let Some(name) = path.file_name() else {
            continue;
        };
        fs::copy(&path, typescript.join(name)).map_err(|error| fault(&path, &error))?;
    }
    let requirements = sources.join("python/requirements.txt");
    let lock = sources.join("typescript/package-lock.json");
    let wanted = [read(&requirements)?, read(&lock)?].concat();
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    say("installing the official Python SDK ...");
    let python = folder.join("python");
    if !python.join("bin/python").exists() {
        run(
            &folder,
            "python3",
            ["-m".as_ref(), "venv".as_ref(), python.as_os_str()],
        )?;
    }
    let pip: [&OsStr; 7] = [
        "-m".as_ref(),
        "pip".as_ref(),
        "install".as_ref(),
        "--quiet".as_ref(),
        "--disable-pip-version-check".as_ref(),
        "--requirement".as_ref(),
        requirements.as_os_str(),
    ];
    run(&folder, python.join("bin/python"), pip)?;
    say("installing the official TypeScript SDK ...");
    run(&typescript, "npm", ["ci", "--no-progress"])?;
    fs::write(&stamp, wanted).map_err(|error| fault(&stamp, &error))
}

fn run<I: AsRef<OsStr>>(
    directory: &Path,
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = I>,
) -> Result<(), String> {
    let name = program.as_ref().to_string_lossy().to_string();
    let status = Command::new(program)
        .args(args)
        .current_dir(directory)
        .status()
        .map_err(|error| format!("{name}: {error}; is it installed?"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{name} failed ({status})"))
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| fault(folder, &error))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| fault(folder, &error))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| fault(path, &error))
}

fn fault(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
