//! Bytes that were durable and are wrong stop the start, by file and offset; a torn tail does not.

use crate::support::{Running, entry, indexes, open, position, segment, segments, small, try_open};
use std::path::Path;
use steadfast_storage::disk::{CrashLoss, Disk, SimulatedDisk};
use steadfast_storage::log::{LogError, LogFault, LogOptions};

/// Offset of the first record after the start of the first segment: magic, header, version byte,
/// number, end of the one before, four absent values.
const FIRST: u64 = 8 + 16 + 1 + 4 + 8 + 4;
/// An entry's bytes on disk besides its payload.
const OVERHEAD: u64 = 16 + 24;

fn filled(entries: u64, bytes: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    for index in 1..=entries {
        running.append(vec![entry(1, index, bytes)]).unwrap();
    }
    running.stop();
    disk
}

fn refused_at(disk: &SimulatedDisk) -> (std::path::PathBuf, u64) {
    match try_open(disk, small()) {
        Err(LogError::Damaged { file, offset, .. }) => (file, offset),
        Err(other) => panic!("refused for another reason: {other}"),
        Ok((_, _, recovered)) => panic!("accepted: {recovered:?}"),
    }
}

#[test]
fn every_flipped_bit_of_an_orderly_ended_log_is_refused_where_it_is() {
    for byte in 0..FIRST + 3 * (OVERHEAD + 20) {
        let disk = filled(3, 20);
        disk.flip_bit(&segment(1), byte, (byte % 8) as u8).unwrap();
        let (file, offset) = refused_at(&disk);
        assert_eq!(file, segment(1));
        let record = match byte.checked_sub(FIRST) {
            None => 0,
            Some(rest) => FIRST + rest / (OVERHEAD + 20) * (OVERHEAD + 20),
        };
        assert_eq!(offset, record, "byte {byte}");
    }
}

#[test]
fn the_message_names_file_and_offset() {
    let disk = filled(3, 20);
    disk.flip_bit(&segment(1), FIRST + 30, 0).unwrap();
    let message = try_open(&disk, small()).err().unwrap().to_string();
    assert!(
        message.starts_with("log file data/log/0000000001.log is damaged at byte 41: "),
        "{message}"
    );
}

#[test]
fn damage_in_an_old_segment_is_refused() {
    let disk = filled(60, 300);
    let names = segments(&disk);
    assert!(names.len() >= 4);
    for number in 1..names.len() as u32 {
        for byte in [0, 30, FIRST + 2, 700] {
            disk.flip_bit(&segment(number), byte, 3).unwrap();
            assert_eq!(refused_at(&disk).0, segment(number));
            disk.flip_bit(&segment(number), byte, 3).unwrap();
        }
    }
    assert!(try_open(&disk, small()).is_ok());
}

#[test]
fn records_missing_at_the_end_of_an_old_segment_are_noticed() {
    let disk = filled(60, 300);
    let file = disk.open(&segment(2)).unwrap();
    let (len, last) = (file.len().unwrap(), OVERHEAD + 300);
    // A lost write: zeros where the last record was.
    let mut bytes = vec![0; len as usize];
    file.read_at(0, &mut bytes).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    file.write_at(end - last, &vec![0; last as usize]).unwrap();
    assert_eq!(refused_at(&disk), (segment(2), end - last));
}

#[test]
fn a_missing_file_is_named() {
    let disk = filled(60, 300);
    disk.remove(&segment(2)).unwrap();
    let Err(LogError::Missing { file }) = try_open(&disk, small()) else {
        panic!("accepted")
    };
    assert_eq!(file, segment(2));
    let disk = filled(60, 300);
    disk.remove(&segment(1)).unwrap();
    let Err(LogError::Missing { file }) = try_open(&disk, small()) else {
        panic!("accepted")
    };
    assert_eq!(file, segment(1));
}

#[test]
fn a_torn_tail_is_cut_and_forgotten() {
    for cut in 0..2 * (OVERHEAD + 100) {
        let disk = SimulatedDisk::new();
        let (running, _) = Running::start(&disk, LogOptions::default());
        running
            .append((1..=3).map(|index| entry(1, index, 100)).collect())
            .unwrap();
        // The writer's last words are not on this disk: it was killed.
        let disk = disk.crash(CrashLoss::Nothing);
        running.stop();
        let end = FIRST + 3 * (OVERHEAD + 100);
        let file = disk.open(&segment(1)).unwrap();
        file.write_at(end - cut, &vec![0; cut as usize]).unwrap();

        let (running, recovered) = Running::start(&disk, LogOptions::default());
        let whole = 3 - cut.div_ceil(OVERHEAD + 100);
        // Only zeros were cut when the record's own last bytes are zeros: here they never are.
        assert_eq!(recovered.last, Some(position(1, whole)), "{cut} bytes cut");
        running.append(vec![entry(2, whole + 1, 77)]).unwrap();
        running.stop();
        let (log, _writer, _) = open(&disk, LogOptions::default());
        let expected: Vec<u64> = (1..=whole + 1).collect();
        assert_eq!(indexes(&log.read(1, 99, usize::MAX).unwrap()), expected);
    }
}

/// Makes a file shorter or longer, with zeros.
fn resize(disk: &SimulatedDisk, path: &Path, bytes: u64) {
    let file = disk.open(path).unwrap();
    let mut content = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut content).unwrap();
    content.resize(bytes as usize, 0);
    disk.remove(path).unwrap();
    let file = disk.create(path).unwrap();
    file.write_at(0, &content).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path.parent().unwrap()).unwrap();
}

#[test]
fn a_file_that_was_cut_short_after_synced_records_is_refused() {
    let record = OVERHEAD + 100;
    // In the middle of a record, and between two; a node with such a log would have forgotten
    // what it had acknowledged, and its leader would stop.
    for left in [
        FIRST + 2 * record,
        FIRST + 2 * record + 50,
        FIRST + 3 * record,
    ] {
        let disk = filled(4, 100);
        resize(&disk, &segment(1), left);
        assert_eq!(refused_at(&disk), (segment(1), left));
    }
}

#[test]
fn a_file_whose_last_step_was_cut_off_by_a_crash_is_made_whole() {
    let disk = filled(3, 20);
    let whole = disk.open(&segment(1)).unwrap().len().unwrap();
    resize(&disk, &segment(1), whole + 100);
    for index in 4..=60 {
        let (running, recovered) = Running::start(&disk, small());
        assert_eq!(recovered.last, Some(position(1, index - 1)));
        running.append(vec![entry(1, index, 200)]).unwrap();
        running.stop();
    }
}

#[test]
fn a_later_synced_record_turns_a_torn_tail_into_damage() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, LogOptions::default());
    for index in 1..=3 {
        running.append(vec![entry(1, index, 100)]).unwrap();
    }
    let disk = disk.crash(CrashLoss::Nothing);
    running.stop();
    let record = OVERHEAD + 100;
    // Lost as a whole: a hole of zeros before a good record.
    let file = disk.open(&segment(1)).unwrap();
    file.write_at(FIRST + record, &vec![0; record as usize])
        .unwrap();
    assert_eq!(refused_at(&disk), (segment(1), FIRST + record));
}

#[test]
fn rotten_bytes_are_noticed_when_read() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    for index in 1..=60 {
        running.append(vec![entry(1, index, 300)]).unwrap();
    }
    disk.flip_bit(&segment(1), FIRST + OVERHEAD + 5, 1).unwrap();
    let fault = running.log.read(1, 9, 1).unwrap_err();
    let LogFault::Damaged { file, offset, .. } = fault else {
        panic!("{fault}")
    };
    assert_eq!((file.as_path(), offset), (segment(1).as_path(), FIRST));
    assert_eq!(
        indexes(&running.log.read(2, 4, usize::MAX).unwrap()),
        [2, 3]
    );
}

#[test]
fn other_files_are_left_alone() {
    let disk = filled(3, 20);
    disk.create(&Path::new(crate::support::DIR).join("notes.txt"))
        .unwrap();
    assert!(try_open(&disk, small()).is_ok());
}
