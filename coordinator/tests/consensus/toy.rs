//! An ordered map of texts: the smallest machine that shows whether changes are lost, repeated or reordered.

use std::collections::BTreeMap;

use holdfast_coordinator::consensus::{Applied, Machine, RowChange, UnknownChange};

/// Key to value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Map(pub BTreeMap<String, String>);

/// A change that sets one key. Its outcome is the value before.
pub fn set(key: &str, value: &str) -> Vec<u8> {
    format!("set\t{key}\t{value}").into_bytes()
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|e| e.to_string())
}

impl Machine for Map {
    fn from_rows(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        rows.into_iter().map(|(key, value)| Ok((text(key)?, text(value)?))).collect::<Result<_, _>>().map(Self)
    }

    fn apply(&mut self, _index: u64, change: &[u8]) -> Result<Applied, UnknownChange> {
        let change = String::from_utf8_lossy(change);
        let mut words = change.splitn(3, '\t');
        let (Some("set"), Some(key), Some(value)) = (words.next(), words.next(), words.next()) else {
            return Err(UnknownChange(change.into_owned()));
        };
        let before = self.0.insert(key.to_owned(), value.to_owned());
        let row = RowChange { key: key.as_bytes().to_vec(), value: Some(value.as_bytes().to_vec()) };
        Ok(Applied { rows: vec![row], outcome: before.unwrap_or_default().into_bytes() })
    }
}
