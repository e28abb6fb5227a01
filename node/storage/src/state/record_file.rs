//! Base and delta files: sorted records with checksums.
//!
//! Header (64 bytes): magic, kind, mark, position, crc32. Then blocks: length, crc32, records (key
//! length, key, tag, value length, value). Then a footer: a length of `u32::MAX`, number of
//! records, xxh3-128 of all bytes before the footer, crc32. The manifest has the checksum of the
//! whole file. All little-endian.

use super::fault::StateError;
use super::record::{Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, RawChange};
use crate::Position;
use crate::disk::{Disk, DiskFile};
use bytes::{Buf, Bytes};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use steadfast_planted::{Bug, planted};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8; 8] = b"SFSTATE1";
const HEADER_BYTES: usize = 64;
const FOOTER_BYTES: usize = 32;
const FOOTER_MARK: u32 = u32::MAX;
const BLOCK_BYTES: usize = 64 * 1024;
/// One record more than fills a block makes it this long at most.
const MAX_BLOCK_BYTES: usize = BLOCK_BYTES + MAX_KEY_BYTES + MAX_VALUE_BYTES + 16;
const VERIFY_BYTES: usize = 1024 * 1024;
const PUT: u8 = 1;
const TOMBSTONE: u8 = 0;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// The whole state at a mark.
    Base,
    /// The changes from the mark before.
    Delta,
}

/// First bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) kind: FileKind,
    pub(crate) mark: u64,
    pub(crate) position: Position,
}

impl FileHeader {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.push(match self.kind {
            FileKind::Base => 1,
            FileKind::Delta => 2,
        });
        bytes.resize(16, 0);
        for number in [
            self.mark,
            self.position.term,
            self.position.leader,
            self.position.index,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(HEADER_BYTES - 4, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() != HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return None;
        }
        let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        if (&bytes[HEADER_BYTES - 4..]).get_u32_le() != crc {
            return None;
        }
        let kind = match bytes[8] {
            1 => FileKind::Base,
            2 => FileKind::Delta,
            _ => return None,
        };
        bytes.advance(16);
        let mark = bytes.get_u64_le();
        let (term, leader, index) = (bytes.get_u64_le(), bytes.get_u64_le(), bytes.get_u64_le());
        Some(Self {
            kind,
            mark,
            position: Position {
                term,
                leader,
                index,
            },
        })
    }
}

/// Writes a file front to back. Records must come in key order.
pub(crate) struct RecordWriter {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    offset: u64,
    buffer: Vec<u8>,
    block_start: usize,
    count: u64,
    last_key: Option<Key>,
    hasher: Xxh3,
}

impl RecordWriter {
    /// Starts a file; what an earlier crash left at the path goes away.
    pub(crate) fn create(
        disk: &dyn Disk,
        path: PathBuf,
        header: &FileHeader,
    ) -> Result<Self, StateError> {
        if disk
            .exists(&path)
            .map_err(StateError::io("look for", &path))?
        {
            disk.remove(&path)
                .map_err(StateError::io("remove", &path))?;
        }
        let file = disk
            .create(&path)
            .map_err(StateError::io("create", &path))?;
        let mut writer = Self {
            file,
            path,
            offset: 0,
            buffer: header.encode(),
            block_start: 0,
            count: 0,
            last_key: None,
            hasher: Xxh3::new(),
        };
        writer.begin_block();
        Ok(writer)
    }

    fn begin_block(&mut self) {
        self.block_start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 8]);
    }

    pub(crate) fn push(&mut self, key: &Key, value: Option<&[u8]>) -> Result<(), StateError> {
        assert!(
            self.last_key.as_ref().is_none_or(|last| last < key),
            "records of a file are sorted"
        );
        assert!(key.len() <= MAX_KEY_BYTES, "a key fits in an index record");
        assert!(
            value.is_none_or(|value| value.len() <= MAX_VALUE_BYTES),
            "a value fits in a mutation"
        );
        self.buffer
            .extend_from_slice(&word(key.len()).to_le_bytes());
        self.buffer.extend_from_slice(key);
        match value {
            Some(value) => {
                self.buffer.push(PUT);
                self.buffer
                    .extend_from_slice(&word(value.len()).to_le_bytes());
                self.buffer.extend_from_slice(value);
            }
            None => self.buffer.push(TOMBSTONE),
        }
        self.count += 1;
        self.last_key = Some(key.clone());
        if self.buffer.len() - self.block_start - 8 >= BLOCK_BYTES {
            self.end_block()?;
            self.begin_block();
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), StateError> {
        let payload = self.block_start + 8;
        if self.buffer.len() == payload {
            self.buffer.truncate(self.block_start);
        } else {
            let crc = crc32fast::hash(&self.buffer[payload..]);
            let length = word(self.buffer.len() - payload);
            self.buffer[self.block_start..self.block_start + 4]
                .copy_from_slice(&length.to_le_bytes());
            self.buffer[self.block_start + 4..payload].copy_from_slice(&crc.to_le_bytes());
        }
        self.write_buffer()
    }

    fn write_buffer(&mut self) -> Result<(), StateError> {
        self.file
            .write_at(self.offset, &self.buffer)
            .map_err(StateError::io("write", &self.path))?;
        self.hasher.update(&self.buffer);
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends and fsyncs the file: its length and the checksum of all its bytes.
    pub(crate) fn finish(mut self) -> Result<(u64, u128), StateError> {
        self.end_block()?;
        self.buffer.extend_from_slice(&FOOTER_MARK.to_le_bytes());
        self.buffer.extend_from_slice(&self.count.to_le_bytes());
        self.buffer
            .extend_from_slice(&self.hasher.digest128().to_le_bytes());
        let crc = crc32fast::hash(&self.buffer);
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.write_buffer()?;
        if !planted(Bug::DeltaNotSynced) {
            self.file
                .sync_data()
                .map_err(StateError::io("fsync", &self.path))?;
        }
        Ok((self.offset, self.hasher.digest128()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn word(length: usize) -> u32 {
    u32::try_from(length).expect("keys and values are bounded far below 4 GiB")
}

impl std::fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordWriter")
            .field("path", &self.path)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Reads a file front to back in bounded memory, with one record of look-ahead.
#[derive(Debug)]
pub(crate) struct RecordReader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    header: FileHeader,
    offset: u64,
    end: u64,
    block: Bytes,
    count: u64,
    peeked: Option<RawChange>,
    read: u64,
}

impl RecordReader {
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, StateError> {
        let file = disk.open(path).map_err(StateError::io("open", path))?;
        let len = file.len().map_err(StateError::io("measure", path))?;
        if len < (HEADER_BYTES + FOOTER_BYTES) as u64 {
            return Err(StateError::damaged(path, "it is too short"));
        }
        let mut reader = Self {
            file,
            path: path.to_path_buf(),
            header: FileHeader {
                kind: FileKind::Base,
                mark: 0,
                position: Position::default(),
            },
            offset: 0,
            end: len,
            block: Bytes::new(),
            count: 0,
            peeked: None,
            read: 0,
        };
        let header = reader.bytes(HEADER_BYTES)?;
        reader.header = FileHeader::decode(&header)
            .ok_or_else(|| StateError::damaged(path, "its header is wrong"))?;
        Ok(reader)
    }

    pub(crate) fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Bytes of records handed out so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read
    }

    /// The next record, which stays the next one.
    pub(crate) fn peek(&mut self) -> Result<Option<&RawChange>, StateError> {
        if self.peeked.is_none() {
            self.peeked = self.read_next()?;
        }
        Ok(self.peeked.as_ref())
    }

    pub(crate) fn next(&mut self) -> Result<Option<RawChange>, StateError> {
        match self.peeked.take() {
            Some(change) => Ok(Some(change)),
            None => self.read_next(),
        }
    }

    fn read_next(&mut self) -> Result<Option<RawChange>, StateError> {
        while self.block.is_empty() {
            if !self.read_block()? {
                return Ok(None);
            }
        }
        let key_len = self.need(4)?.get_u32_le() as usize;
        let key = self.need(key_len)?;
        let value = match self.need(1)?.get_u8() {
            TOMBSTONE => None,
            PUT => {
                let length = self.need(4)?.get_u32_le() as usize;
                Some(self.need(length)?)
            }
            _ => return Err(self.damaged("a record has an unknown tag")),
        };
        if key.len() > MAX_KEY_BYTES
            || value
                .as_ref()
                .is_some_and(|value| value.len() > MAX_VALUE_BYTES)
        {
            return Err(self.damaged("a record is too long"));
        }
        self.count += 1;
        self.read += (key.len() + value.as_ref().map_or(0, Bytes::len)) as u64;
        Ok(Some((key, value)))
    }

    /// False at the footer.
    fn read_block(&mut self) -> Result<bool, StateError> {
        if self.offset == self.end {
            return Ok(false);
        }
        let mut header = self.bytes(8)?;
        let length = header.get_u32_le();
        if length == FOOTER_MARK {
            let mut footer = FOOTER_MARK.to_le_bytes().to_vec();
            footer.extend_from_slice(&header);
            footer.extend_from_slice(&self.bytes(FOOTER_BYTES - 8)?);
            let count = (&footer[4..12]).get_u64_le();
            let crc = (&footer[FOOTER_BYTES - 4..]).get_u32_le();
            if crc32fast::hash(&footer[..FOOTER_BYTES - 4]) != crc
                || count != self.count
                || self.offset != self.end
            {
                return Err(self.damaged("its footer is wrong"));
            }
            return Ok(false);
        }
        let crc = header.get_u32_le();
        if length as usize > MAX_BLOCK_BYTES {
            return Err(self.damaged("a block is too long"));
        }
        let block = self.bytes(length as usize)?;
        if crc32fast::hash(&block) != crc {
            return Err(self.damaged("a block's checksum is wrong"));
        }
        self.block = block;
        Ok(true)
    }

    fn bytes(&mut self, count: usize) -> Result<Bytes, StateError> {
        if self.end - self.offset < count as u64 {
            return Err(self.damaged("it is cut"));
        }
        let mut buffer = vec![0; count];
        read_exact(&*self.file, &self.path, self.offset, &mut buffer)?;
        self.offset += count as u64;
        Ok(Bytes::from(buffer))
    }

    fn need(&mut self, count: usize) -> Result<Bytes, StateError> {
        if self.block.len() < count {
            return Err(self.damaged("a record is cut"));
        }
        Ok(self.block.split_to(count))
    }

    fn damaged(&self, what: &str) -> StateError {
        StateError::damaged(&self.path, what)
    }
}

/// Fills the buffer from the file, or fails.
pub(crate) fn read_exact(
    file: &dyn DiskFile,
    path: &Path,
    mut offset: u64,
    mut buffer: &mut [u8],
) -> Result<(), StateError> {
    while !buffer.is_empty() {
        let count = file
            .read_at(offset, buffer)
            .map_err(StateError::io("read", path))?;
        if count == 0 {
            return Err(StateError::damaged(path, "it is cut"));
        }
        offset += count as u64;
        buffer = &mut buffer[count..];
    }
    Ok(())
}

/// Length and checksum of a whole file, read in bounded memory.
pub(crate) fn measure(disk: &dyn Disk, path: &Path) -> Result<(u64, u128), StateError> {
    let file = disk.open(path).map_err(StateError::io("open", path))?;
    let len = file.len().map_err(StateError::io("measure", path))?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; VERIFY_BYTES];
    let mut offset = 0;
    while offset < len {
        let count =
            usize::try_from((len - offset).min(VERIFY_BYTES as u64)).unwrap_or(VERIFY_BYTES);
        read_exact(&*file, path, offset, &mut buffer[..count])?;
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
    Ok((len, hasher.digest128()))
}
