//! Join tokens: `hf1.<region>.<letters>`. One line to paste that names the region, proves the right to join once, and
//! pins the CA, so that a host knows whom it joins before it trusts anybody.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use holdfast_types::RegionName;

use crate::pki::Pin;

/// Version of the form.
const PREFIX: &str = "hf1";
const ID_BYTES: usize = 5;
const SECRET_BYTES: usize = 20;
const PIN_BYTES: usize = 32;
/// Lower case, without letters and digits that are easily confused.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

/// A join token, whole. Its secret is shown once and stored nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The only region it enrols into.
    pub region: RegionName,
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
    pin: [u8; PIN_BYTES],
}

/// Why a text is no join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no join token: {0}; paste it whole, as `holdfast token create` printed it")]
pub struct BadToken(&'static str);

impl JoinToken {
    /// A new token from random bytes.
    #[must_use]
    pub fn new(region: RegionName, random: [u8; 25], pin: &Pin) -> Self {
        let mut id = [0; ID_BYTES];
        let mut secret = [0; SECRET_BYTES];
        id.copy_from_slice(&random[..ID_BYTES]);
        secret.copy_from_slice(&random[ID_BYTES..]);
        Self { region, id, secret, pin: *pin.bytes() }
    }

    /// Its public part: names it in lists and logs.
    #[must_use]
    pub fn id(&self) -> String {
        encode(&self.id)
    }

    /// SHA-256 of its secret: what is stored.
    #[must_use]
    pub fn secret_hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, &self.secret).as_ref().to_vec()
    }

    /// The CA that answers to it.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin::from_bytes(self.pin)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Vec::with_capacity(ID_BYTES + SECRET_BYTES + PIN_BYTES);
        all.extend(self.id);
        all.extend(self.secret);
        all.extend(self.pin);
        write!(f, "{PREFIX}.{}.{}", self.region, encode(&all))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({PREFIX}.{}.{}…)", self.region, self.id())
    }
}

impl FromStr for JoinToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(region), Some(letters), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadToken("expected hf1.REGION.LETTERS"));
        };
        let region = RegionName::new(region).map_err(|_| BadToken("its region is no region name"))?;
        let all = decode(letters).ok_or(BadToken("a letter in it is none that tokens are made of"))?;
        if all.len() != ID_BYTES + SECRET_BYTES + PIN_BYTES {
            return Err(BadToken("it is cut off, or has something added"));
        }
        let mut token = Self { region, id: [0; ID_BYTES], secret: [0; SECRET_BYTES], pin: [0; PIN_BYTES] };
        token.id.copy_from_slice(&all[..ID_BYTES]);
        token.secret.copy_from_slice(&all[ID_BYTES..ID_BYTES + SECRET_BYTES]);
        token.pin.copy_from_slice(&all[ID_BYTES + SECRET_BYTES..]);
        Ok(token)
    }
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut held, mut bits) = (0u32, 0u32);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0u32);
    for letter in text.bytes() {
        let value = ALPHABET.iter().position(|a| *a == letter)?;
        held = held << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 255).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    // What is left over must be padding, or two texts would name one token.
    (held == 0 && bits < 5).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back_what_it_prints(random in any::<[u8; 25]>(), pin in any::<[u8; 32]>()) {
            let token = JoinToken::new(RegionName::new("us-east").unwrap(), random, &Pin::from_bytes(pin));
            let text = token.to_string();
            prop_assert!(text.starts_with("hf1.us-east."));
            prop_assert_eq!(text.parse::<JoinToken>().unwrap(), token.clone());
            prop_assert!(text[..text.len() - 1].parse::<JoinToken>().is_err());
            let doubled = format!("{}a", text);
            prop_assert!(doubled.parse::<JoinToken>().is_err());
            let (secret, shown) = (encode(&token.secret), format!("{token:?}"));
            prop_assert!(!shown.contains(&secret));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<JoinToken>();
        }
    }
}
