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
    let python = folder.join("python");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return build_go(&sources.join("go"), &folder);
    }
    say("installing the official Python SDK ...");
    if !python.join("bin/python").exists() {
        run(
            &folder,
            "python3",
            ["-m".as_ref(), "venv".as_ref(), python.as_os_str()],
        )?;
    }
    pip_install(&folder, &requirements)?;
    say("installing the official TypeScript SDK ...");
    run(&typescript, "npm", ["ci", "--no-progress"])?;
    build_go(&sources.join("go"), &folder)?;
    fs::write(&stamp, wanted).map_err(|error| fault(&stamp, &error))
}

/// Into the virtual environment.
fn pip_install(folder: &Path, requirements: &Path) -> Result<(), String> {
    let pip: [&OsStr; 7] = [
        "-m".as_ref(),
        "pip".as_ref(),
        "install".as_ref(),
        "--quiet".as_ref(),
        "--disable-pip-version-check".as_ref(),
        "--requirement".as_ref(),
        requirements.as_os_str(),
    ];
    run(folder, folder.join("python/bin/python"), pip)
}

/// Builds the program of the Go SDK; modules and what is built stay below `folder`. Where no Go
/// is new enough, the toolchain comes as a Python package.
fn build_go(sources: &Path, folder: &Path) -> Result<(), String> {
    let own = folder.join("go");
    make(&own)?;
    let go = |program: &OsStr| {
        let mut command = Command::new(program);
        command
            .current_dir(sources)
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly -modcacherw -buildvcs=false")
            .env("GOMODCACHE", own.join("modules"))
            .env("GOCACHE", own.join("cache"));
        command
    };
    // Says no more than the module's name, and fails where Go is too old for it.
    let fits = |program: &OsStr| {
        let asked = go(program).args(["list", "-m"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    let fetched = folder.join("python/bin/go");
    let found = ["go".as_ref(), fetched.as_os_str()];
    let program = match found.into_iter().find(|program| fits(program)) {
        Some(program) => program,
        None => {
            say("installing Go ...");
            pip_install(folder, &sources.join("requirements.txt"))?;
            fetched.as_os_str()
        }
    };
    say("building the program of the official Go SDK ...");
    let mut build = go(program);
    build.args(["build", "-o"]).arg(own.join("everything"));
    finish("go build", &mut build)
}

fn run<I: AsRef<OsStr>>(
    directory: &Path,
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = I>,
) -> Result<(), String> {
    let name = program.as_ref().to_string_lossy().to_string();
    finish(
        &name,
        Command::new(program).args(args).current_dir(directory),
    )
}

fn finish(name: &str, command: &mut Command) -> Result<(), String> {
    let status = command
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
