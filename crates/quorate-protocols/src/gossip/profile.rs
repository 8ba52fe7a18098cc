//! What a member says of itself: where it is, what it does, how busy it is.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use quorate_model::{DecodeError, Reader, Wire};

/// The longest name of a zone, in bytes.
pub const ZONE_BYTES_MAX: usize = 32;
/// The longest version, in bytes.
pub const VERSION_BYTES_MAX: usize = 32;
/// The longest part that gossip carries and does not read, in bytes.
pub const EXTRA_BYTES_MAX: usize = 256;

/// What a node does. A set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Roles(pub u32);

impl Roles {
    /// Holds replicated data.
    pub const STORE: Self = Self(1);
    /// Takes clients' requests.
    pub const GATEWAY: Self = Self(1 << 1);
    /// Decides joins and leaves of chains.
    pub const SWAMI: Self = Self(1 << 2);
    /// Runs workflows.
    pub const WORKFLOW: Self = Self(1 << 3);
    /// Takes packets in.
    pub const INGRESS: Self = Self(1 << 4);
    /// Remembers flows.
    pub const TRACKER: Self = Self(1 << 5);
    /// Accepts flows for the services of its host.
    pub const HOST_AGENT: Self = Self(1 << 6);
    /// Lets packets out.
    pub const EGRESS: Self = Self(1 << 7);

    const NAMES: [&str; 8] = ["store", "gateway", "swami", "workflow", "ingress", "tracker", "host-agent", "egress"];

    /// The names of what is in the set, as far as this build knows them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let is_in = move |(bit, _): &(usize, &str)| self.has(Self(1 << bit));
        Self::NAMES.into_iter().enumerate().filter(is_in).map(|(_, name)| name)
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where a member is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Addresses {
    /// By clients.
    pub client: SocketAddr,
    /// By other nodes, on links.
    pub peer: SocketAddr,
    /// By gossip, in datagrams.
    pub gossip: SocketAddr,
}

impl Addresses {
    /// All three at one address.
    #[must_use]
    pub const fn all(address: SocketAddr) -> Self {
        Self { client: address, peer: address, gossip: address }
    }
}

/// What a member says of itself. Fixed for one incarnation; to change it, a member raises its incarnation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Profile {
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it does.
    pub roles: Roles,
    /// How busy it is, in thousandths of what it can do.
    pub load_per_mille: u16,
    /// Where it stands; at most [`ZONE_BYTES_MAX`] bytes.
    pub zone: String,
    /// Which build it runs; at most [`VERSION_BYTES_MAX`] bytes.
    pub version: String,
    /// What gossip carries and does not read, such as the prefix lengths of its chains; at most [`EXTRA_BYTES_MAX`] bytes.
    pub extra: Bytes,
}

/// Why a profile was refused. The member goes on with the one that it had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProfileError {
    /// A part is longer than its bound; shorten it.
    TooLong {
        /// Which part.
        part: &'static str,
        /// How long it is, in bytes.
        length: usize,
        /// How long it may be, in bytes.
        bound: usize,
    },
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::TooLong { part, length, bound } = self;
        write!(f, "the {part} of a member is {length} bytes long, but at most {bound} fit a datagram: shorten it")
    }
}

impl core::error::Error for ProfileError {}

impl Profile {
    /// Where a member is reached, and nothing else.
    #[must_use]
    pub fn at(addresses: Addresses) -> Self {
        let (zone, version) = (String::new(), String::new());
        Self { addresses, roles: Roles::default(), load_per_mille: 0, zone, version, extra: Bytes::new() }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// When a part is longer than its bound.
    pub fn check(&self) -> Result<(), ProfileError> {
        for (part, length, bound) in [
            ("zone", self.zone.len(), ZONE_BYTES_MAX),
            ("version", self.version.len(), VERSION_BYTES_MAX),
            ("extra part", self.extra.len(), EXTRA_BYTES_MAX),
        ] {
            if length > bound {
                return Err(ProfileError::TooLong { part, length, bound });
            }
        }
        Ok(())
    }
}

impl Wire for Profile {
    fn encode(&self, out: &mut Vec<u8>) {
        put_address(self.addresses.client, out);
        put_address(self.addresses.peer, out);
        put_address(self.addresses.gossip, out);
        self.roles.0.encode(out);
        u32::from(self.load_per_mille).encode(out);
        self.zone.encode(out);
        self.version.encode(out);
        self.extra.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let profile = Self {
            addresses: Addresses {
                client: take_address(input)?,
                peer: take_address(input)?,
                gossip: take_address(input)?,
            },
            roles: Roles(u32::decode(input)?),
            load_per_mille: u16::try_from(u32::decode(input)?).map_err(|_| DecodeError::Malformed("load"))?,
            zone: String::decode(input)?,
            version: String::decode(input)?,
            // A copy: a slice would keep the whole datagram for as long as the member is known.
            extra: Bytes::copy_from_slice(&Bytes::decode(input)?),
        };
        profile.check().map_err(|ProfileError::TooLong { length, bound, .. }| DecodeError::TooLong {
            length: length as u64,
            bound: bound as u64,
        })?;
        Ok(profile)
    }
}

const IPV4: u8 = 4;
const IPV6: u8 = 6;

fn put_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(IPV4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(IPV6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&address.port().to_le_bytes());
}

fn take_address(input: &mut Reader) -> Result<SocketAddr, DecodeError> {
    let ip = match input.byte()? {
        IPV4 => IpAddr::V4(Ipv4Addr::from(take_octets::<4>(input)?)),
        IPV6 => IpAddr::V6(Ipv6Addr::from(take_octets::<16>(input)?)),
        other => return Err(DecodeError::Unknown { what: "address family", value: other.into() }),
    };
    Ok(SocketAddr::new(ip, u16::from_le_bytes(take_octets(input)?)))
}

fn take_octets<const COUNT: usize>(input: &mut Reader) -> Result<[u8; COUNT], DecodeError> {
    let bytes = input.take(COUNT)?;
    <[u8; COUNT]>::try_from(&bytes[..]).map_err(|_| DecodeError::Short)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn profile() -> Profile {
        let addresses = Addresses {
            client: "10.0.0.1:2379".parse().expect("an address"),
            peer: "[2001:db8::1]:2380".parse().expect("an address"),
            gossip: "10.0.0.1:7946".parse().expect("an address"),
        };
        let roles = Roles::STORE.and(Roles::GATEWAY);
        let extra = Bytes::from_static(b"chains");
        let (zone, version) = ("a".to_string(), "0.1.0".to_string());
        Profile { addresses, roles, load_per_mille: 250, zone, version, extra }
    }

    #[test]
    fn a_profile_is_read_back_as_it_was_written() {
        assert_eq!(Profile::from_bytes(profile().to_bytes()), Ok(profile()));
        assert!(profile().roles.names().eq(["store", "gateway"]));
        assert!(profile().roles.has(Roles::STORE) && !profile().roles.has(Roles::SWAMI));
    }

    #[test]
    fn a_part_beyond_its_bound_is_refused_here_and_from_outside() {
        let long = Profile { zone: "z".repeat(ZONE_BYTES_MAX + 1), ..profile() };
        let error = long.check().expect_err("it is too long");
        assert_eq!(
            error.to_string(),
            "the zone of a member is 33 bytes long, but at most 32 fit a datagram: shorten it"
        );
        assert_eq!(Profile::from_bytes(long.to_bytes()), Err(DecodeError::TooLong { length: 33, bound: 32 }));
    }
}
