//! The seam to randomness.

use rand::rngs::{OsRng, StdRng};
use rand::{RngCore, SeedableRng, TryRngCore};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use steadfast_engine::id::uuid_text;
use uuid::Uuid;

/// A source of random bytes.
pub trait Entropy: Send + Sync + Debug + 'static {
    /// Sixteen random bytes.
    fn draw(&self) -> [u8; 16];

    /// A random number.
    fn number(&self) -> u64 {
        let mut half = [0; 8];
        half.copy_from_slice(&self.draw()[..8]);
        u64::from_le_bytes(half)
    }

    /// A random (version 4) UUID, as nodes have one.
    fn node_uuid(&self) -> Uuid {
        let mut bytes = self.draw();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Uuid::from_bytes(bytes)
    }

    /// The text of a random (version 4) UUID.
    fn uuid(&self) -> String {
        uuid_text(self.node_uuid().as_bytes())
    }
}

/// The operating system's randomness, stretched.
#[derive(Debug)]
pub struct OsEntropy(SeededEntropy);

impl OsEntropy {
    /// Seeds a generator from the operating system, once: each proposal draws from it.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn new() -> std::io::Result<Self> {
        let mut seed = [0; 32];
        OsRng
            .try_fill_bytes(&mut seed)
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self(SeededEntropy(Mutex::new(StdRng::from_seed(seed)))))
    }
}

impl Entropy for OsEntropy {
    fn draw(&self) -> [u8; 16] {
        self.0.draw()
    }
}

/// Randomness that follows from a seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// The same seed gives the same bytes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn draw(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(&mut bytes);
        bytes
    }
}
