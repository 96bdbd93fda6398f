//! A child's output, copied up to a bound and drained beyond it.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::OUTPUT_BYTES_MAX;

/// Most bytes of the child's stderr that an error shows: the last lines say why.
const STDERR_SHOWN_BYTES_MAX: usize = 600;

/// A bounded copy of an output.
pub(super) struct Captured {
    /// What was kept.
    pub bytes: Vec<u8>,
    keep_tail: bool,
    /// Whether there was more.
    pub dropped: bool,
}

impl Captured {
    /// Keeps the beginning.
    pub fn head() -> Self {
        Self { bytes: Vec::new(), keep_tail: false, dropped: false }
    }

    /// Keeps the end.
    pub fn tail() -> Self {
        Self { bytes: Vec::new(), keep_tail: true, dropped: false }
    }

    /// Reads to the end. An error counts as the end: the pipe is gone.
    pub async fn fill(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = vec![0; 8 * 1024];
        loop {
            match pipe.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(n) => self.add(&chunk[..n]),
            }
        }
    }

    fn add(&mut self, chunk: &[u8]) {
        if self.keep_tail {
            self.bytes.extend_from_slice(chunk);
            let over = self.bytes.len().saturating_sub(OUTPUT_BYTES_MAX);
            self.dropped |= over > 0;
            self.bytes.drain(..over);
        } else {
            let room = OUTPUT_BYTES_MAX.saturating_sub(self.bytes.len()).min(chunk.len());
            self.bytes.extend_from_slice(&chunk[..room]);
            self.dropped |= room < chunk.len();
        }
    }

    /// The end of it on one line, for an error.
    pub fn shown(&self) -> String {
        let from = self.bytes.len().saturating_sub(STDERR_SHOWN_BYTES_MAX);
        let text = String::from_utf8_lossy(&self.bytes[from..]);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() { "(nothing)".to_owned() } else { text }
    }
}
