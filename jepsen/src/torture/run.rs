//! Lives, one after the other, each ended by a cut, a kill, or in order.

use super::model::Model;
use super::report::Report;
use super::verdict::Tally;
use crate::processes::Trouble;
use crate::processes::disk::Disk;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The disk: big enough for what one directory gathers.
const IMAGE_BYTES: u64 = 256 << 20;
/// A start, and an end in order, take less on a slow machine.
const STARTS: Duration = Duration::from_secs(30);
/// After so many lives a directory is wiped.
const LIVES_OF_A_DIRECTORY: u64 = 25;
/// Each cut takes less, lives without one counted in.
const CUT_TAKES: Duration = Duration::from_secs(10);
const PROGRESS_EVERY: u64 = 10;

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// Power cuts.
    pub cuts: u64,
    /// Draws lives, ends and their moments. (Processes and kernel do not follow it.)
    pub seed: u64,
    /// The folder for the disk and the words of the lives.
    pub out: PathBuf,
    /// Further arguments of each life.
    pub arguments: Vec<String>,
    /// Takes sled as it is after a power cut, which no node does: another boot id tells it not to.
    pub believe_sled: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What happened.
    pub tally: Tally,
    /// What must not be.
    pub violation: Option<String>,
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The power fails; the process goes on for a moment and hears only errors.
    Cut(Duration),
    /// It is killed, and the power fails.
    KillAndCut,
    /// It is killed; the machine goes on.
    Kill,
    /// It ends in order, and the power fails.
    OrderlyAndCut,
}

impl End {
    fn draw(chance: &mut ChaCha8Rng) -> End {
        match chance.random_range(0..100) {
            0..=59 => End::Cut(Duration::from_millis(chance.random_range(0..40))),
            60..=71 => End::KillAndCut,
            72..=85 => End::Kill,
            _ => End::OrderlyAndCut,
        }
    }

    fn cuts(self) -> bool {
        match self {
            End::Cut(_) | End::KillAndCut | End::OrderlyAndCut => true,
            End::Kill => false,
        }
    }
}

/// When a life ends.
#[derive(Debug, Clone, Copy)]
enum Moment {
    AfterStart(Duration),
    AfterReady(Duration),
}

impl Moment {
    fn draw(end: End, chance: &mut ChaCha8Rng) -> Moment {
        if end != End::OrderlyAndCut && chance.random_bool(0.25) {
            return Moment::AfterStart(Duration::from_millis(chance.random_range(0..200)));
        }
        Moment::AfterReady(Duration::from_millis(chance.random_range(5..700)))
    }
}

/// Lives until there were so many cuts, or until something must not be.
///
/// # Errors
/// When the machine does not do what it should; nothing is known then.
pub fn run(order: &Order, say: fn(&str)) -> Result<Outcome, Trouble> {
    let mut rig = Rig::new(order)?;
    let began = Instant::now();
    let most = CUT_TAKES * u32::try_from(order.cuts).unwrap_or(u32::MAX) + STARTS;
    while rig.tally.cuts < order.cuts {
        if began.elapsed() > most {
            return Err(Trouble::Tool(format!("it takes longer than {most:?}")));
        }
        let before = rig.tally.cuts;
        if let Some(violation) = rig.live(order)? {
            let (life, cuts) = (rig.tally.lives, rig.tally.cuts);
            return Ok(Outcome {
                tally: rig.tally.clone(),
                violation: Some(format!("life {life}, after {cuts} cuts: {violation}")),
            });
        }
        if rig.tally.cuts > before && rig.tally.cuts.is_multiple_of(PROGRESS_EVERY) {
            say(&format!(
                "  {:5.1} s {} cuts, {} entries, {} marks",
                began.elapsed().as_secs_f64(),
                rig.tally.cuts,
                rig.tally.entries,
                rig.tally.marks
            ));
        }
    }
    let lacks = rig.tally.lacks();
    let violation = (!lacks.is_empty()).then(|| format!("too little of: {}", lacks.join(", ")));
    Ok(Outcome {
        tally: rig.tally.clone(),
        violation,
    })
}

struct Rig {
    disk: Disk,
    chance: ChaCha8Rng,
    model: Model,
    tally: Tally,
    story: u64,
    lives_here: u64,
    /// How often the machine was started, so to speak.
    boots: u64,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.disk.remove();
    }
}

impl Rig {
    fn new(order: &Order) -> Result<Rig, Trouble> {
        let scratch = order.out.join("disks");
        std::fs::create_dir_all(&scratch)
            .map_err(|error| Trouble::Io(scratch.display().to_string(), error))?;
        Ok(Rig {
            disk: Disk::image(&scratch, "torture", IMAGE_BYTES)?,
            chance: ChaCha8Rng::seed_from_u64(order.seed),
            model: Model::new(order.seed),
            tally: Tally::begin(),
            story: order.seed,
            lives_here: 0,
            boots: 1,
        })
    }

    /// One life; what must not be, if anything.
    fn live(&mut self, order: &Order) -> Result<Option<String>, Trouble> {
        if self.lives_here == LIVES_OF_A_DIRECTORY {
            self.wipe()?;
        }
        self.lives_here += 1;
        self.tally.lives += 1;
        let end = End::draw(&mut self.chance);
        let moment = Moment::draw(end, &mut self.chance);
        let mut life = Process::start(order, self)?;
        let early = life.lasts(moment)?;
        let mut cut_at = None;
        if early.is_none() {
            if !life.ready {
                self.tally.cuts_at_start += u64::from(end.cuts());
            }
            cut_at = self.end(end, &mut life)?;
        }
        let told = life.told()?;
        if let Some(why) = early {
            let fault = told.iter().rev().find_map(|report| {
                let Report::Fault(what) = report else {
                    return None;
                };
                Some(what.clone())
            });
            // What it told before may say more.
            let model = self.model.live(told, None, &mut self.tally).err();
            return Ok(model.or(Some(format!("{why}: {fault:?}"))));
        }
        Ok(self.model.live(told, cut_at, &mut self.tally).err())
    }

    /// Ends a life; when the power was cut.
    fn end(&mut self, end: End, life: &mut Process) -> Result<Option<u64>, Trouble> {
        let cut_at = match end {
            End::Cut(goes_on) => {
                let cut_at = self.disk.cut_power_at()?;
                std::thread::sleep(goes_on);
                life.kill()?;
                Some(cut_at)
            }
            End::KillAndCut => {
                life.kill()?;
                Some(self.disk.cut_power_at()?)
            }
            End::Kill => {
                life.kill()?;
                self.tally.kills += 1;
                None
            }
            End::OrderlyAndCut => {
                life.stop()?;
                self.tally.ends += 1;
                Some(self.disk.cut_power_at()?)
            }
        };
        if end.cuts() {
            self.tally.cuts += 1;
            self.boots += 1;
            self.disk.mount_again()?;
        }
        Ok(cut_at)
    }

    /// An empty directory, and another story.
    fn wipe(&mut self) -> Result<(), Trouble> {
        self.disk.wipe()?;
        self.story = self.story.wrapping_add(1);
        self.model = Model::new(self.story);
        self.lives_here = 0;
        self.tally.directories += 1;
        Ok(())
    }
}

/// The process of one life.
struct Process {
    child: Child,
    reader: Option<JoinHandle<Vec<Report>>>,
    told_ready: Receiver<()>,
    ready: bool,
}

impl Process {
    fn start(order: &Order, rig: &mut Rig) -> Result<Process, Trouble> {
        let log = order.out.join("lives.log");
        let words = File::options().create(true).append(true).open(&log);
        let words = words.map_err(|error| Trouble::Io(log.display().to_string(), error))?;
        let own = std::env::current_exe();
        let own = own.map_err(|error| Trouble::Io("this program".into(), error))?;
        let boot = match order.believe_sled {
            true => "always the same".to_owned(),
            false => format!("boot {}", rig.boots),
        };
        let mut child = Command::new(own)
            .args(&order.arguments)
            .arg("--life-in")
            .arg(rig.disk.data_dir())
            .args(["--story", &rig.story.to_string()])
            .args(["--life", &rig.tally.lives.to_string()])
            .args(["--committed", &rig.model.committed().to_string()])
            .args(["--boot", &boot])
            .args(["--seed", &rig.chance.random::<u64>().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(words)
            .spawn()
            .map_err(|error| Trouble::Io("start a life".into(), error))?;
        let (ready, told_ready) = channel();
        let output = child.stdout.take();
        let reader = output.map(|output| std::thread::spawn(move || read(output, &ready)));
        Ok(Process {
            child,
            reader,
            told_ready,
            ready: false,
        })
    }

    /// Lets it live; says why not, when it ended by itself or never begins.
    fn lasts(&mut self, moment: Moment) -> Result<Option<String>, Trouble> {
        match moment {
            Moment::AfterStart(so_long) => {
                let began = Instant::now();
                self.ready = self.told_ready.recv_timeout(so_long).is_ok();
                std::thread::sleep(so_long.saturating_sub(began.elapsed()));
            }
            Moment::AfterReady(so_long) => match self.told_ready.recv_timeout(STARTS) {
                Ok(()) => {
                    self.ready = true;
                    std::thread::sleep(so_long);
                }
                Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.kill()?;
                    return Ok(Some(format!("it does not begin within {STARTS:?}")));
                }
            },
        }
        // Nobody listens any more once it ended.
        let closed = self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.is_finished());
        if closed || self.ended()?.is_some() {
            self.kill()?;
            return Ok(Some("it ended by itself".to_owned()));
        }
        Ok(None)
    }

    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>, Trouble> {
        self.child
            .try_wait()
            .map_err(|error| Trouble::Io("a life".into(), error))
    }

    /// SIGKILL, and waits.
    fn kill(&mut self) -> Result<(), Trouble> {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child
            .wait()
            .map(drop)
            .map_err(|error| Trouble::Io("a life".into(), error))
    }

    /// Asks it to end, and waits.
    fn stop(&mut self) -> Result<(), Trouble> {
        drop(self.child.stdin.take());
        let until = Instant::now() + STARTS;
        while Instant::now() < until {
            if self.ended()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill()?;
        Err(Trouble::Tool("a life does not end in order".into()))
    }

    /// All that it told. It has ended.
    fn told(&mut self) -> Result<Vec<Report>, Trouble> {
        let told = self.reader.take().map(JoinHandle::join);
        match told {
            Some(Ok(told)) => Ok(told),
            Some(Err(_)) | None => Err(Trouble::Tool("what a life told was not read".into())),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill().ok();
    }
}

fn read(output: ChildStdout, ready: &Sender<()>) -> Vec<Report> {
    let mut told = Vec::new();
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { break };
        // The last line of a killed process may be cut off.
        let Ok(report) = String::from_utf8_lossy(&line).parse() else {
            break;
        };
        if report == Report::Ready {
            // Nobody waits for it when the life is to end before.
            ready.send(()).ok();
        }
        told.push(report);
    }
    told
}
