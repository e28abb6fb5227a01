//! What the files of the nodes' logs say is committed.

use super::disks::{LOG, segment_number, segment_path};
use super::{Ailment, Nemesis};
use crate::log_story::LogStory;

impl Nemesis {
    /// Reads what is new in each log. A damaged one is not believed.
    pub(super) fn read_logs(&mut self) {
        for id in self.cluster.running() {
            let damaged = self.sick.get(&id) == Some(&Ailment::Damaged);
            let Some(disk) = self.cluster.disk(id).filter(|_| !damaged) else {
                continue;
            };
            let bytes = |segment, at, len| disk.peek(&segment_path(segment), at, len);
            let read = self.watched.log_of(id);
            let purged = |story: &LogStory| bytes(story.segment(), 0, 0).is_none();
            if read.as_ref().is_none_or(purged) {
                let files = disk.files();
                let mut logs = files.iter().filter(|(path, _)| path.starts_with(LOG));
                let oldest = logs.find_map(|(path, _)| segment_number(path));
                *read = oldest.map(LogStory::new);
            }
            if let Some(story) = read {
                story.read(id, &bytes, &mut self.logs);
            }
        }
    }
}
