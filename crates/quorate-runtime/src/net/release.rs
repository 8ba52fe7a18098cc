//! Which releases understand each other: one, and those beside it. So a cluster is upgraded node by node, one release at a
//! time, and stays one cluster meanwhile.
//!
//! Releases with the same first two numbers say the same. Each understands what the one before says, and says nothing that
//! the one before does not understand for as long as it may have to talk to it.

use std::fmt;

use quorate_model::codec::{DecodeError, Reader, Wire};

/// The number of a release. Source: semantic versioning, where a minor release may add and not take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// Raised when what was can no longer be understood.
    pub major: u32,
    /// Raised when something new is said.
    pub minor: u32,
    /// Raised for all else.
    pub patch: u32,
}

impl Release {
    /// That of this build.
    pub const OWN: Self = Self {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    };

    /// Whether nodes of the two may be in one cluster.
    #[must_use]
    pub fn is_beside(self, other: Self) -> bool {
        self.major == other.major && self.minor.abs_diff(other.minor) <= 1
    }
}

const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("cargo gives the parts of a version as numbers"),
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Wire for Release {
    fn encode(&self, out: &mut Vec<u8>) {
        self.major.encode(out);
        self.minor.encode(out);
        self.patch.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { major: u32::decode(input)?, minor: u32::decode(input)?, patch: u32::decode(input)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_understands_itself_and_those_beside_it() {
        let release = |major, minor, patch| Release { major, minor, patch };
        let own = release(1, 4, 2);
        for beside in [own, release(1, 4, 9), release(1, 3, 0), release(1, 5, 7)] {
            assert!(own.is_beside(beside) && beside.is_beside(own), "{beside}");
        }
        for far in [release(1, 2, 2), release(1, 6, 0), release(2, 4, 2), release(0, 4, 2)] {
            assert!(!own.is_beside(far) && !far.is_beside(own), "{far}");
        }
        assert_eq!(Release::OWN.to_string(), env!("CARGO_PKG_VERSION"));
    }
}
