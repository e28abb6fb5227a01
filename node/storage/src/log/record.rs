//! The bytes of one record.
//!
//! ```text
//! len u32 | crc u32 | kind u8 | zero u8 | group u16 | synced u32 | payload     (little endian)
//! ```
//! `len` counts the payload. The CRC covers what follows it, and the record's segment and offset,
//! so that bytes of another place never pass for a record. `synced` is the offset in the segment
//! up to which everything had been synced when the record was written: it tells a torn tail
//! (nobody was told it is durable) from damage.

use crate::codec;
use crate::position::Position;
use serde::{Deserialize, Serialize};
use steadfast_planted::{Bug, planted};

/// Payload bytes of one append: bounds what the log holds in memory and writes at once.
pub const MAX_APPEND_BYTES: u64 = 256 << 20;

pub(super) const HEADER_BYTES: usize = 16;
/// Before an entry's payload: term, leader, index.
pub(super) const ENTRY_BYTES: usize = 24;
const MAX_PAYLOAD_BYTES: usize = MAX_APPEND_BYTES as usize + ENTRY_BYTES;
/// A vote is a few numbers; it is repeated at the start of each segment.
pub(super) const MAX_VOTE_BYTES: u64 = 4 << 10;
/// Bounds the start record of a segment; the vote in it is the only part without a fixed size.
pub(super) const MAX_START_BYTES: u64 = MAX_VOTE_BYTES + 256;
/// Bounds the small records.
const MAX_NOTE_BYTES: u64 = 64;
/// The log holds one group so far; the field is there for when it holds more.
const GROUP: u16 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Start = 1,
    Entry = 2,
    Vote = 3,
    Truncate = 4,
    Purge = 5,
    Committed = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        let kinds = [
            Kind::Start,
            Kind::Entry,
            Kind::Vote,
            Kind::Truncate,
            Kind::Purge,
            Kind::Committed,
        ];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The first record of each segment: what the segments before it amount to, but for the entries.
/// So no old segment is kept for the sake of a vote or a note.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) segment: u32,
    /// Where the records of the segment before end.
    pub(super) previous_end: u64,
    pub(super) vote: Option<Vec<u8>>,
    pub(super) committed: Option<Position>,
    pub(super) purged: Option<Position>,
    /// Index of the last entry.
    pub(super) last: Option<u64>,
}

/// A record's meaning.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Start(Start),
    Entry(Position, &'a [u8]),
    Vote(&'a [u8]),
    Truncate(Option<u64>),
    Purge(Position),
    Committed(Option<Position>),
}

/// A record whose checksum holds.
#[derive(Debug)]
pub(super) struct RawRecord<'a> {
    pub(super) kind: Kind,
    pub(super) synced: u64,
    pub(super) payload: &'a [u8],
}

#[derive(Debug)]
pub(super) enum Parsed<'a> {
    Record(RawRecord<'a>),
    /// Zeros, or nothing more.
    End,
    Bad(&'static str),
}

/// Collects records that will be written at one offset of one segment.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) segment: u32,
    /// Where the buffer's first byte goes.
    pub(super) base: u64,
    pub(super) synced: u64,
}

impl Encoder<'_> {
    /// Adds a record; returns its offset in the segment.
    pub(super) fn put(&mut self, kind: Kind, parts: [&[u8]; 2]) -> u32 {
        let at = self.buffer.len();
        let offset = to_u32(self.base + at as u64);
        let len = to_u32((parts[0].len() + parts[1].len()) as u64);
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&[kind as u8, 0]);
        self.buffer.extend_from_slice(&GROUP.to_le_bytes());
        self.buffer
            .extend_from_slice(&to_u32(self.synced).to_le_bytes());
        self.buffer.extend_from_slice(parts[0]);
        self.buffer.extend_from_slice(parts[1]);
        let crc = checksum(&self.buffer[at + 8..], self.segment, u64::from(offset));
        self.buffer[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        offset
    }

    pub(super) fn entry(&mut self, position: Position, payload: &[u8]) -> u32 {
        let mut place = [0; ENTRY_BYTES];
        place[..8].copy_from_slice(&position.term.to_le_bytes());
        place[8..16].copy_from_slice(&position.leader.to_le_bytes());
        place[16..].copy_from_slice(&position.index.to_le_bytes());
        self.put(Kind::Entry, [&place, payload])
    }

    /// Adds one of the small records.
    pub(super) fn note<T: Serialize>(&mut self, kind: Kind, value: &T) {
        let bytes = codec::encode(value, MAX_NOTE_BYTES);
        // Only fixed-size numbers are encoded here: 25 bytes at most.
        self.put(kind, [&bytes.expect("a note fits its bound"), &[]]);
    }
}

/// Segments are bounded far below 4 GiB; see `LogOptions` and [`MAX_APPEND_BYTES`].
fn to_u32(number: u64) -> u32 {
    u32::try_from(number).expect("an offset in a segment fits 32 bits")
}

fn checksum(after_crc: &[u8], segment: u32, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(after_crc);
    hasher.update(&segment.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

/// Looks at the record at `bytes[at..]`, where `bytes` starts at offset `base` of the segment.
pub(super) fn parse(bytes: &[u8], at: usize, segment: u32, base: u64) -> Parsed<'_> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(header) = rest.get(..HEADER_BYTES) else {
        let end = rest.iter().all(|byte| *byte == 0);
        return if end {
            Parsed::End
        } else {
            Parsed::Bad("the record's header is cut off")
        };
    };
    if header.iter().all(|byte| *byte == 0) {
        return Parsed::End;
    }
    let Some(kind) = Kind::from_byte(header[8]) else {
        return Parsed::Bad("the record is of an unknown kind");
    };
    let offset = base + at as u64;
    let synced = u64::from(u32_at(header, 12));
    if header[9..12] != [0, 0, 0] || synced > offset {
        return Parsed::Bad("the record's header makes no sense");
    }
    let len = u32_at(header, 0) as usize;
    if len > MAX_PAYLOAD_BYTES {
        return Parsed::Bad("the record's length makes no sense");
    }
    let Some(payload) = rest.get(HEADER_BYTES..HEADER_BYTES + len) else {
        return Parsed::Bad("the record is cut off");
    };
    let holds = u32_at(header, 4) == checksum(&rest[8..HEADER_BYTES + len], segment, offset);
    if !holds && !planted(Bug::ChecksumNotCompared) {
        return Parsed::Bad("the record's checksum does not hold");
    }
    Parsed::Record(RawRecord {
        kind,
        synced,
        payload,
    })
}

impl<'a> RawRecord<'a> {
    /// Bytes of the whole record.
    pub(super) fn bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    pub(super) fn decode(&self) -> Result<Record<'a>, String> {
        let payload = self.payload;
        let note = |error: codec::DecodeError| error.to_string();
        Ok(match self.kind {
            Kind::Start => Record::Start(codec::decode(payload, MAX_START_BYTES).map_err(note)?),
            Kind::Entry => {
                let (place, content) = payload
                    .split_at_checked(ENTRY_BYTES)
                    .ok_or("the entry is too short")?;
                let position = Position {
                    term: u64_at(place, 0),
                    leader: u64_at(place, 8),
                    index: u64_at(place, 16),
                };
                Record::Entry(position, content)
            }
            Kind::Vote => Record::Vote(payload),
            Kind::Truncate => {
                Record::Truncate(codec::decode(payload, MAX_NOTE_BYTES).map_err(note)?)
            }
            Kind::Purge => Record::Purge(codec::decode(payload, MAX_NOTE_BYTES).map_err(note)?),
            Kind::Committed => {
                Record::Committed(codec::decode(payload, MAX_NOTE_BYTES).map_err(note)?)
            }
        })
    }
}

/// Whether a record after `at` says that the bytes at `at` had been synced: then what is wrong
/// there is damage, not a torn write.
pub(super) fn synced_beyond(bytes: &[u8], at: usize, segment: u32) -> bool {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    (at + 1..end.max(at + 1)).any(|place| match parse(bytes, place, segment, 0) {
        Parsed::Record(record) => {
            record.synced > at as u64 && !planted(Bug::DamageTakenForTornTail)
        }
        Parsed::End | Parsed::Bad(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        Encoder {
            buffer: &mut buffer,
            segment: 3,
            base: 64,
            synced: 40,
        }
        .put(kind, [payload, &[]]);
        buffer
    }

    #[test]
    fn a_record_is_good_only_where_it_was_written() {
        let bytes = one(Kind::Vote, b"vote");
        let Parsed::Record(record) = parse(&bytes, 0, 3, 64) else {
            panic!("not a record")
        };
        assert_eq!(
            (record.kind, record.synced, record.payload),
            (Kind::Vote, 40, &b"vote"[..])
        );
        assert!(matches!(parse(&bytes, 0, 4, 64), Parsed::Bad(_)));
        assert!(matches!(parse(&bytes, 0, 3, 65), Parsed::Bad(_)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = one(Kind::Entry, &[7; 40]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(parse(&bad, 0, 3, 64), Parsed::Bad(_)), "bit {bit}");
        }
    }

    #[test]
    fn cut_and_random_bytes_never_panic() {
        let good = one(Kind::Entry, &[7; 40]);
        for len in 0..good.len() {
            assert!(
                !matches!(parse(&good[..len], 0, 3, 64), Parsed::Record(_)),
                "length {len}"
            );
        }
        let mut noise = 1u64;
        for _ in 0..20_000 {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let mut bytes = good.clone();
            let at = (noise >> 33) as usize % bytes.len();
            bytes[at] = (noise >> 20) as u8;
            if let Parsed::Record(record) = parse(&bytes, 0, 3, 64) {
                assert!(record.decode().is_ok());
            }
        }
    }
}
