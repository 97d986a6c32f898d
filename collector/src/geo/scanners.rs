//! Known scanners: who owns a network, by lists that the operator trusts.
//!
//! Crates looked at for the table: `prefix-trie` and `ipnet-trie` over it, and `ip_network_table-deps-treebitmap`. They are
//! made for tables that change entry by entry. These never do: they are read whole and swapped, so sorted arrays and one
//! binary search do, in 8 bytes an entry more than its address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::error::Problem;
use super::intervals::{Intervals, Network};
use super::lists;

/// Most networks over all lists; some 200 MiB while they are read.
const MAX_NETWORKS: usize = 1 << 22;

/// A list as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListAbout {
    /// Its name: the organisation.
    pub name: String,
    /// How many networks it has, as written.
    pub networks: u64,
}

/// All lists, ready for lookups.
#[derive(Debug, Default)]
pub(super) struct Scanners {
    lists: Vec<ListAbout>,
    ipv4: Intervals<u32>,
    ipv6: Intervals<u128>,
}

impl Scanners {
    /// Reads files and directories. Lists of one name are one list. Of two that have the same network, the one that is read
    /// first has it: files in the order of the paths, within a directory in the order of their names.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Scanners, Problem> {
        let mut abouts: Vec<ListAbout> = Vec::new();
        let mut by_name: HashMap<String, u32> = HashMap::new();
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for path in paths {
            for list in lists::read(path)? {
                let owner = *by_name.entry(list.name.clone()).or_insert_with(|| {
                    abouts.push(ListAbout { name: list.name.clone(), networks: 0 });
                    // At most as many as there are files.
                    u32::try_from(abouts.len() - 1).unwrap_or(u32::MAX)
                });
                if let Some(about) = abouts.get_mut(owner as usize) {
                    about.networks += list.networks.len() as u64;
                }
                for network in list.networks {
                    match network {
                        IpNet::V4(net) => {
                            ipv4.push(Network { first: net.network().into(), last: net.broadcast().into(), owner });
                        }
                        IpNet::V6(net) => {
                            ipv6.push(Network { first: net.network().into(), last: net.broadcast().into(), owner });
                        }
                    }
                }
                if ipv4.len() + ipv6.len() > MAX_NETWORKS {
                    return Err(Problem::TooMany { limit: MAX_NETWORKS });
                }
            }
        }
        Ok(Scanners { lists: abouts, ipv4: Intervals::new(ipv4), ipv6: Intervals::new(ipv6) })
    }

    pub(super) fn lists(&self) -> &[ListAbout] {
        &self.lists
    }

    /// The list whose network an address lies in, which must not be an IPv4 address within IPv6.
    pub(super) fn list(&self, address: IpAddr) -> Option<usize> {
        let owner = match address {
            IpAddr::V4(address) => self.ipv4.owner(address.into()),
            IpAddr::V6(address) => self.ipv6.owner(address.into()),
        };
        owner.map(|owner| owner as usize)
    }
}
