//! Tokens: `hf1.<region>.<letters>` for a host, `hfp1.<name>.<letters>` for a person. One line to paste that says who it
//! is for, proves the right to come in once, and pins the CA, so that whoever comes knows whom they trust.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use holdfast_types::{OperatorName, RegionName};

use crate::pki::Pin;

/// Kind of token and version of the form.
const JOIN: &str = "hf1";
const PERSON: &str = "hfp1";
const ID_BYTES: usize = 5;
const SECRET_BYTES: usize = 20;
const PIN_BYTES: usize = 32;
/// Lower case, without letters and digits that are easily confused.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

/// What is in the letters of every token.
#[derive(Clone, PartialEq, Eq)]
struct Letters {
    id: [u8; ID_BYTES],
    secret: [u8; SECRET_BYTES],
    pin: [u8; PIN_BYTES],
}

/// Random bytes that a token is made of.
pub type Random = [u8; ID_BYTES + SECRET_BYTES];

/// A join token, whole. Its secret is shown once and stored nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The only region it enrols into.
    pub region: RegionName,
    letters: Letters,
}

/// A token for a person, `hfp1.<name>.<letters>`. Its secret is shown once and stored nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonToken {
    /// The only person it lets in.
    pub operator: OperatorName,
    letters: Letters,
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no {kind}: {why}; paste it whole, as `{printed_by}` printed it")]
pub struct BadToken {
    kind: &'static str,
    printed_by: &'static str,
    why: &'static str,
}

const BAD_JOIN: fn(&'static str) -> BadToken =
    |why| BadToken { kind: "join token", printed_by: "holdfast token create", why };
const BAD_PERSON: fn(&'static str) -> BadToken =
    |why| BadToken { kind: "token for a person", printed_by: "holdfast operator add", why };

macro_rules! token {
    ($token:ident, $name:ident, $bearer:ty, $prefix:ident, $bad:ident, $form:literal, $no_name:literal) => {
        impl $token {
            /// A new token from random bytes.
            #[must_use]
            pub fn new($name: $bearer, random: Random, pin: &Pin) -> Self {
                Self { $name, letters: Letters::new(random, pin) }
            }

            /// Its public part: names it in lists and logs.
            #[must_use]
            pub fn id(&self) -> String {
                encode(&self.letters.id)
            }

            /// SHA-256 of its secret: what is stored.
            #[must_use]
            pub fn secret_hash(&self) -> Vec<u8> {
                digest::digest(&digest::SHA256, &self.letters.secret).as_ref().to_vec()
            }

            /// The CA that answers to it.
            #[must_use]
            pub fn pin(&self) -> Pin {
                Pin::from_bytes(self.letters.pin)
            }
        }

        impl fmt::Display for $token {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}.{}", $prefix, self.$name, self.letters.text())
            }
        }

        impl fmt::Debug for $token {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}.{}.{}…)", stringify!($token), $prefix, self.$name, self.id())
            }
        }

        impl FromStr for $token {
            type Err = BadToken;

            fn from_str(text: &str) -> Result<Self, BadToken> {
                let mut parts = text.trim().split('.');
                let (Some($prefix), Some(name), Some(letters), None) =
                    (parts.next(), parts.next(), parts.next(), parts.next())
                else {
                    return Err($bad($form));
                };
                let $name = <$bearer>::new(name).map_err(|_| $bad($no_name))?;
                Ok(Self { $name, letters: Letters::read(letters).map_err($bad)? })
            }
        }
    };
}

token!(JoinToken, region, RegionName, JOIN, BAD_JOIN, "expected hf1.REGION.LETTERS", "its region is no region name");
token!(
    PersonToken,
    operator,
    OperatorName,
    PERSON,
    BAD_PERSON,
    "expected hfp1.NAME.LETTERS",
    "its name is no operator's"
);

impl Letters {
    fn new(random: Random, pin: &Pin) -> Self {
        let mut id = [0; ID_BYTES];
        let mut secret = [0; SECRET_BYTES];
        id.copy_from_slice(&random[..ID_BYTES]);
        secret.copy_from_slice(&random[ID_BYTES..]);
        Self { id, secret, pin: *pin.bytes() }
    }

    fn text(&self) -> String {
        let mut all = Vec::with_capacity(ID_BYTES + SECRET_BYTES + PIN_BYTES);
        all.extend(self.id);
        all.extend(self.secret);
        all.extend(self.pin);
        encode(&all)
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let all = decode(text).ok_or("a letter in it is none that tokens are made of")?;
        if all.len() != ID_BYTES + SECRET_BYTES + PIN_BYTES {
            return Err("it is cut off, or has something added");
        }
        let mut letters = Self { id: [0; ID_BYTES], secret: [0; SECRET_BYTES], pin: [0; PIN_BYTES] };
        letters.id.copy_from_slice(&all[..ID_BYTES]);
        letters.secret.copy_from_slice(&all[ID_BYTES..ID_BYTES + SECRET_BYTES]);
        letters.pin.copy_from_slice(&all[ID_BYTES + SECRET_BYTES..]);
        Ok(letters)
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
            let (secret, shown) = (encode(&token.letters.secret), format!("{token:?}"));
            prop_assert!(!shown.contains(&secret));
        }

        #[test]
        fn a_persons_token_is_no_hosts(random in any::<[u8; 25]>(), pin in any::<[u8; 32]>()) {
            let token = PersonToken::new(OperatorName::new("ada").unwrap(), random, &Pin::from_bytes(pin));
            prop_assert_eq!(token.to_string().parse::<PersonToken>().unwrap(), token.clone());
            let why = token.to_string().parse::<JoinToken>().unwrap_err().to_string();
            prop_assert!(why.starts_with("this is no join token: expected hf1.REGION"), "{}", why);
            prop_assert!(JoinToken::new(RegionName::new("ada").unwrap(), random, &Pin::from_bytes(pin))
                .to_string().parse::<PersonToken>().is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<PersonToken>();
            let _ = text.parse::<JoinToken>();
        }
    }
}
