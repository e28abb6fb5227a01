//! A node's disk: an ext4 image of its own where the machine allows it, else a folder.

use super::{Trouble, io, tool};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Fits into a sparse file; the node calls its disk low below 512 MiB.
pub(super) const IMAGE_BYTES: u64 = 4 << 30;
/// What fills a disk.
const FILLER: &str = "filler";
/// Pages that fill what is left, twice the greatest slack.
const FILL_WRITES_MAX: u32 = 1 << 15;
/// `EXT4_IOC_SHUTDOWN` by Python, since it needs a raw system call: the first argument is 1 for
/// errors only, 2 for a power cut (the journal is not written out), the others are disks. Prints the
/// machine's monotonic clock in nanoseconds as it was just before.
const SHUTDOWN: &str = "import fcntl, os, struct, sys, time
disks = [os.open(path, os.O_RDONLY) for path in sys.argv[2:]]
how = struct.pack('I', int(sys.argv[1]))
moment = time.monotonic_ns()
for disk in disks:
    fcntl.ioctl(disk, 0x8004587D, how)
print(moment)";

/// One node's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    /// `None`: a folder only.
    image: Option<PathBuf>,
    folder: PathBuf,
    /// It answers every call with an error.
    pub(super) broken: bool,
}

impl Disk {
    /// A new, empty one in an image.
    pub(crate) fn image(scratch: &Path, name: &str, bytes: u64) -> Result<Disk, Trouble> {
        let image = scratch.join(format!("{name}.ext4"));
        let file = std::fs::File::create(&image).map_err(io(image.display().to_string()))?;
        file.set_len(bytes).map_err(io("the image's size"))?;
        let folder = scratch.join(name);
        std::fs::create_dir_all(&folder).map_err(io(folder.display().to_string()))?;
        let disk = Disk {
            image: Some(image.clone()),
            folder,
            broken: false,
        };
        tool(&["mkfs.ext4", "-q", "-F", "-m", "0", &image.to_string_lossy()])?;
        disk.mount()?;
        Ok(disk)
    }

    /// A new, empty one in a folder.
    pub(super) fn folder(scratch: &Path, name: &str) -> Result<Disk, Trouble> {
        let folder = scratch.join(name);
        std::fs::create_dir_all(&folder).map_err(io(folder.display().to_string()))?;
        Ok(Disk {
            image: None,
            folder,
            broken: false,
        })
    }

    /// Where the node keeps its data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn mount(&self) -> Result<(), Trouble> {
        let Some(image) = &self.image else {
            return Ok(());
        };
        let (image, folder) = (image.to_string_lossy(), self.folder.to_string_lossy());
        tool(&["mount", "-o", "loop", &image, &folder]).map(drop)
    }

    /// The power fails: what was not synced is lost, and every call fails from now on.
    pub(crate) fn cut_power(&mut self) -> Result<(), Trouble> {
        cut_power(&mut [self])
    }

    /// As [`Disk::cut_power`]; the monotonic clock in nanoseconds just before.
    pub(crate) fn cut_power_at(&mut self) -> Result<u64, Trouble> {
        let printed = shut_down("2", &mut [self])?;
        let moment = printed.trim().parse();
        moment.map_err(|_| Trouble::Tool(format!("no moment of the power cut: {printed}")))
    }

    /// Every call fails from now on.
    pub(super) fn fail(&mut self) -> Result<(), Trouble> {
        shut_down("1", &mut [self]).map(drop)
    }

    /// The power is back. No process may have a file open.
    pub(crate) fn mount_again(&mut self) -> Result<(), Trouble> {
        tool(&["umount", &self.folder.to_string_lossy()])?;
        self.mount()?;
        self.broken = false;
        Ok(())
    }

    /// Takes all space but so many bytes.
    pub(super) fn fill(&self, free: u64) -> Result<(), Trouble> {
        let filler = self.folder.join(FILLER);
        let path = filler.to_string_lossy();
        // The node takes space, too: what is said to be free may be gone.
        let mut tried = Err(Trouble::Tool("nothing was tried".into()));
        for slack in [0, 1 << 20, 16 << 20, 64 << 20] {
            let known = rustix::fs::statvfs(&self.folder)
                .map_err(|error| Trouble::Io("statvfs".into(), error.into()))?;
            let taken = (known.f_bavail * known.f_frsize).saturating_sub(free + slack);
            tried = tool(&["fallocate", "-l", &taken.to_string(), &path]).map(drop);
            if tried.is_ok() {
                break;
            }
            self.free();
        }
        tried?;
        if free == 0 {
            fill_up(&filler)?;
        }
        Ok(())
    }

    /// Bytes that are taken on it; on a folder, of all that shares its file system.
    pub(super) fn used(&self) -> u64 {
        let known = rustix::fs::statvfs(&self.folder);
        known.map_or(0, |known| (known.f_blocks - known.f_bfree) * known.f_frsize)
    }

    /// Bytes that its device was given since it was made; a folder has no device of its own.
    pub(super) fn written(&self) -> Option<u64> {
        self.image.as_ref()?;
        let device = std::fs::metadata(&self.folder).ok()?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let stat = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
        // The seventh number: sectors written.
        let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
        Some(sectors * 512)
    }

    /// Gives the space back.
    pub(super) fn free(&self) {
        // It need not be there.
        std::fs::remove_file(self.folder.join(FILLER)).ok();
    }

    /// A new disk in the place of the old.
    pub(crate) fn wipe(&self) -> Result<(), Trouble> {
        let data = self.data_dir();
        match std::fs::remove_dir_all(&data) {
            // A power cut took it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(io(data.display().to_string())),
        }
    }

    /// The number of the block device, as `MAJOR:MINOR`.
    pub(super) fn device(&self) -> Result<String, Trouble> {
        let folder = self.folder.to_string_lossy();
        tool(&["findmnt", "--noheadings", "--output", "MAJ:MIN", &folder])
    }

    /// Takes it away.
    pub(crate) fn remove(&mut self) {
        if let Some(image) = &self.image {
            tool(&["umount", "--lazy", &self.folder.to_string_lossy()]).ok();
            std::fs::remove_file(image).ok();
            std::fs::remove_dir(&self.folder).ok();
            return;
        }
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Writes until nothing more fits.
fn fill_up(path: &Path) -> Result<(), Trouble> {
    let file = std::fs::File::options().append(true).open(path);
    let mut file = file.map_err(io(path.display().to_string()))?;
    let zeros = [0_u8; 4_096];
    for _ in 0..FILL_WRITES_MAX {
        if let Err(error) = file.write_all(&zeros) {
            return match error.kind() {
                std::io::ErrorKind::StorageFull => Ok(()),
                _ => Err(Trouble::Io("fill a disk".into(), error)),
            };
        }
    }
    Err(Trouble::Tool("a disk that does not fill up".into()))
}

/// The power of all these fails at once.
pub(super) fn cut_power(disks: &mut [&mut Disk]) -> Result<(), Trouble> {
    shut_down("2", disks).map(drop)
}

fn shut_down(how: &str, disks: &mut [&mut Disk]) -> Result<String, Trouble> {
    let folders: Vec<String> = disks
        .iter()
        .map(|disk| disk.folder.to_string_lossy().into_owned())
        .collect();
    let mut words = vec!["python3", "-c", SHUTDOWN, how];
    words.extend(folders.iter().map(String::as_str));
    for disk in disks {
        disk.broken = true;
    }
    tool(&words)
}
