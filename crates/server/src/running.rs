//! Finds servers that run beside this process, in Linux' `/proc`.

pub(crate) use self::platform::listening_addresses;

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::HashSet;
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};

    /// Returns the addresses on which servers of this program listen that run in the current folder.
    ///
    /// A container engine calls `portcullis healthcheck` without the arguments of `serve`, so the settings don't give the
    /// address if `serve` was started with `--config`. A server of another user is not found.
    pub(crate) fn listening_addresses() -> Vec<SocketAddr> {
        let sockets: HashSet<String> =
            fellow_processes().iter().flat_map(|process| sockets_of(process)).collect();
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
            .map(|table| fs::read_to_string(table).unwrap_or_default());
        let mut addresses: Vec<_> = tables
            .iter()
            .flat_map(|table| table.lines())
            .filter_map(listener)
            .filter(|(_, socket)| sockets.contains(*socket))
            .map(|(address, _)| address)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The folders in /proc of other processes of this program in this folder.
    fn fellow_processes() -> Vec<PathBuf> {
        let own = Path::new("/proc/self");
        let (Some(program), Some(folder)) = (identity(&own.join("exe")), identity(&own.join("cwd"))) else {
            return Vec::new();
        };
        let own = own.canonicalize().ok();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        processes
            .filter(|process| Some(process) != own.as_ref())
            .filter(|process| identity(&process.join("exe")) == Some(program))
            .filter(|process| identity(&process.join("cwd")) == Some(folder))
            .collect()
    }

    /// Identifies a file regardless of its name: device and inode.
    fn identity(path: &Path) -> Option<(u64, u64)> {
        fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// The inodes of a process's sockets.
    fn sockets_of(process: &Path) -> Vec<String> {
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        targets
            .filter_map(|target| {
                Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
            })
            .collect()
    }

    /// The address and the inode of a listening socket, from its line in `/proc/net/tcp` (`proc_pid_net(5)`).
    fn listener(line: &str) -> Option<(SocketAddr, &str)> {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let socket = fields.nth(5)?;
        (state == LISTEN).then_some(())?;
        let (ip, port) = local.split_once(':')?;
        Some((SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?), socket))
    }

    /// An address in the kernel's notation: 32-bit words of the machine's byte order in hexadecimal.
    fn address(text: &str) -> Option<IpAddr> {
        let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
        match text.len() {
            8 => Some(Ipv4Addr::from(word(0)?).into()),
            32 => {
                let words = [word(0)?, word(8)?, word(16)?, word(24)?];
                let bytes: [u8; 16] = words.concat().try_into().ok()?;
                Some(Ipv6Addr::from(bytes).into())
            }
            _ => None,
        }
    }

    /// `TCP_LISTEN` of the kernel.
    const LISTEN: &str = "0A";

    #[cfg(test)]
    mod tests {
        use std::net::TcpListener;

        use super::*;

        #[test]
        fn own_listeners_are_found_by_their_inodes() {
            let listeners = ["127.0.0.1:0", "0.0.0.0:0"].map(|address| TcpListener::bind(address).unwrap());
            let sockets = sockets_of(Path::new("/proc/self"));
            let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
            let found: Vec<_> = table
                .lines()
                .filter_map(listener)
                .filter(|(_, socket)| sockets.iter().any(|own| own == socket))
                .map(|(address, _)| address)
                .collect();
            for listener in &listeners {
                assert!(found.contains(&listener.local_addr().unwrap()), "{found:?}");
            }
        }

        #[test]
        #[cfg(target_endian = "little")]
        fn addresses_are_read_in_the_kernels_notation() {
            assert_eq!(address("0100007F"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
            assert_eq!(address("00000000000000000000000001000000"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
            assert_eq!(address("B80D0120000000000000000001000000"), "2001:db8::1".parse().ok());
            assert_eq!(address("0100007"), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::net::SocketAddr;

    /// Returns nothing: the settings have to give the address.
    pub(crate) fn listening_addresses() -> Vec<SocketAddr> {
        Vec::new()
    }
}
