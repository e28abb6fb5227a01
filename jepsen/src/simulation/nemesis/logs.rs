//! What the files of the nodes' logs say is committed, and that no start makes them shorter.

use super::disks::{LOG, segment_number, segment_path};
use super::{Ailment, Nemesis};
use crate::log_story::{LogStory, Logs, Shortened};

impl Nemesis {
    /// Reads what is new in each log. What a damaged one says is committed is not believed; but where
    /// its node starts, it has looked at all of it.
    pub(super) fn read_logs(&mut self) {
        for id in self.cluster.running() {
            let damaged = self.sick.get(&id) == Some(&Ailment::Damaged);
            let read = self.watched.log_of(id);
            let starts = read.is_none();
            let Some(disk) = self.cluster.disk(id).filter(|_| starts || !damaged) else {
                continue;
            };
            let bytes = |segment, at, len| disk.peek(&segment_path(segment), at, len);
            let purged = |story: &LogStory| bytes(story.segment(), 0, 0).is_none();
            if read.as_ref().is_none_or(purged) {
                let files = disk.files();
                let mut logs = files.iter().filter(|(path, _)| path.starts_with(LOG));
                let oldest = logs.find_map(|(path, _)| segment_number(path));
                *read = oldest.map(LogStory::new);
            }
            let Some(story) = read else {
                continue;
            };
            let mut unbelieved = Logs::new();
            let logs = match damaged {
                true => &mut unbelieved,
                false => &mut self.logs,
            };
            story.read(id, &bytes, logs);
            let (end, now) = (story.end(), story.synced());
            let synced = self.watched.synced.insert(id, now).unwrap_or_default();
            if starts && end < synced {
                let node = id;
                self.shortened.push(Shortened { node, synced, end });
            }
        }
    }
}
