//! What a PostgreSQL sends to who looks at it: as it comes, or with well-formed messages around values that are not.

use std::sync::LazyLock;

use holdfast_agent::doors;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));

/// Types of the columns of a look, by PostgreSQL's own numbers: text, int8, int4, bool, float8.
const COLUMNS: [u32; 10] = [25, 25, 25, 25, 20, 23, 16, 25, 701, 16];

/// The first byte says how much of the answer is made well-formed: nothing; the login; all but the values of a row.
pub fn postgres(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let mut answer = Vec::new();
    if how % 3 > 0 {
        login(&mut answer);
    }
    if how % 3 == 2 {
        row(&mut answer, bytes);
    } else {
        answer.extend_from_slice(bytes);
    }
    RUNTIME.block_on(doors::postgres(&answer));
}

fn message(to: &mut Vec<u8>, tag: u8, body: &[u8]) {
    to.push(tag);
    to.extend_from_slice(&u32::try_from(body.len() + 4).expect("small").to_be_bytes());
    to.extend_from_slice(body);
}

fn login(to: &mut Vec<u8>) {
    message(to, b'R', &0u32.to_be_bytes());
    message(to, b'K', &[0, 0, 0, 7, 0, 0, 0, 9]);
    message(to, b'Z', b"I");
}

/// A statement is prepared, and answers one row. Each value is a length (255: null) and so many bytes.
fn row(to: &mut Vec<u8>, mut bytes: &[u8]) {
    message(to, b'1', &[]);
    message(to, b't', &[0, 0]);
    let mut described = u16::try_from(COLUMNS.len()).expect("few").to_be_bytes().to_vec();
    for kind in COLUMNS {
        described.extend_from_slice(b"column\0\0\0\0\0\0\0");
        described.extend_from_slice(&kind.to_be_bytes());
        described.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    }
    message(to, b'T', &described);
    message(to, b'Z', b"I");
    message(to, b'2', &[]);
    let mut values = u16::try_from(COLUMNS.len()).expect("few").to_be_bytes().to_vec();
    for _ in COLUMNS {
        match bytes.split_first() {
            None | Some((255, _)) => {
                values.extend_from_slice(&(-1i32).to_be_bytes());
                bytes = bytes.get(1..).unwrap_or_default();
            }
            Some((length, rest)) => {
                let (value, after) = rest.split_at(usize::from(*length).min(rest.len()));
                values.extend_from_slice(&u32::try_from(value.len()).expect("small").to_be_bytes());
                values.extend_from_slice(value);
                bytes = after;
            }
        }
    }
    message(to, b'D', &values);
    message(to, b'C', b"SELECT 1\0");
    message(to, b'Z', b"I");
    to.extend_from_slice(bytes);
}
