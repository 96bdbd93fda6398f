//! What people may do. Each role may all that the one before it may.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a person was let in as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Also deploys, rolls back, backs up.
    Deployer,
    /// Also declares apps, moves them, restores, and keeps Holdfast's hands off during work.
    Operator,
    /// Also lets people and hosts in and out.
    Admin,
}

impl Role {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Deployer, Self::Operator, Self::Admin];

    /// As written on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Whether it may do what needs `right`.
    #[must_use]
    pub fn may(self, right: Right) -> bool {
        self >= right.needs()
    }
}

/// What a call needs its caller to be let do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Look at the fleet.
    Read,
    /// Declare apps.
    Declare,
    /// Move apps.
    Move,
    /// Let hosts and people in and out, and read who did what.
    Admit,
}

impl Right {
    /// The weakest role that has it.
    #[must_use]
    pub const fn needs(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Declare | Self::Move => Role::Operator,
            Self::Admit => Role::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no role: viewer, deployer, operator or admin")]
pub struct BadRole(String);

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| BadRole(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_what_the_weaker_ones_may_and_what_it_says() {
        let may = |role: Role| [Right::Read, Right::Declare, Right::Move, Right::Admit].map(|right| role.may(right));
        assert_eq!(may(Role::Viewer), [true, false, false, false]);
        assert_eq!(may(Role::Deployer), [true, false, false, false]);
        assert_eq!(may(Role::Operator), [true, true, true, false]);
        assert_eq!(may(Role::Admin), [true; 4]);
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
