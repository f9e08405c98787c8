//! Which ports something listens on.
//!
//! Binding is the only test that counts: who could bind may have the port. On Linux it is tried with `SO_REUSEADDR`
//! and without listening. Such a bind fails against a listener and against what would fail a server as well; it
//! passes over connections in TIME_WAIT that a restarted server passes over too; two who try at once don't hinder each
//! other; and nobody who waits for a service takes the trial for it.

use std::collections::BTreeSet;

/// Who listens on a port.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Listener {
    pub pid: u32,
    /// The command line, at most 200 characters.
    pub command: String,
}

/// Whether something listens on `port`, or it can't be bound: on IPv4 or IPv6, at any address or at loopback. A machine
/// without one of the two is judged by the other.
pub(crate) fn in_use(port: u16) -> bool {
    platform::in_use(port)
}

/// Who listens on `port`. `None`: nobody, another user's process, or the platform can't tell.
pub(crate) fn listener(port: u16) -> Option<Listener> {
    platform::listener(port)
}

/// All ports that anything listens on. `None` where that can't be read: ask [`in_use`] for each.
pub(crate) fn listening_ports() -> Option<BTreeSet<u16>> {
    platform::listening_ports()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod platform {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

    use super::Listener;
    use crate::sys::process;

    pub(super) fn in_use(port: u16) -> bool {
        let addresses: [SocketAddr; 4] = [
            (Ipv4Addr::UNSPECIFIED, port).into(),
            (Ipv4Addr::LOCALHOST, port).into(),
            (Ipv6Addr::UNSPECIFIED, port).into(),
            (Ipv6Addr::LOCALHOST, port).into(),
        ];
        let mut tried = false;
        for address in addresses {
            match try_bind(&address) {
                Some(true) => tried = true,
                Some(false) => return true,
                None => {}
            }
        }
        // A sandbox may forbid sockets; what listens can still be read.
        !tried && listening_ports().is_some_and(|ports| ports.contains(&port))
    }

    /// Whether `address` can be bound; `None`: the machine has no such address, or we may have no socket at all.
    fn try_bind(address: &SocketAddr) -> Option<bool> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
        sockopt::set_socket_reuseaddr(&socket, true).ok()?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true).ok()?;
        }
        match bind(&socket, address) {
            Ok(()) => Some(true),
            Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => None,
            Err(_) => Some(false),
        }
    }

    /// Port and inode of every listening socket; `None` if they can't be read.
    fn listening() -> Option<Vec<(u16, u64)>> {
        crate::sys::sock_diag::listening().or_else(from_proc)
    }

    pub(super) fn from_proc() -> Option<Vec<(u16, u64)>> {
        let tables: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .into_iter()
            .filter_map(|table| std::fs::read_to_string(table).ok())
            .collect();
        if tables.is_empty() {
            return None;
        }
        Some(tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(listening_socket).collect())
    }

    /// A line of `/proc/net/tcp`: number, local `address:port` in hex, remote, state (0A: listening), …, inode.
    fn listening_socket(line: &str) -> Option<(u16, u64)> {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        if fields.nth(1)? != "0A" {
            return None;
        }
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        Some((port, fields.nth(5)?.parse().ok()?))
    }

    pub(super) fn listening_ports() -> Option<BTreeSet<u16>> {
        Some(listening()?.into_iter().map(|(port, _)| port).collect())
    }

    pub(super) fn listener(port: u16) -> Option<Listener> {
        let sockets: Vec<String> = listening()?
            .into_iter()
            .filter(|&(p, _)| p == port)
            .map(|(_, inode)| format!("socket:[{inode}]"))
            .collect();
        if sockets.is_empty() {
            return None;
        }
        let mut pids: Vec<u32> =
            std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
        // A server's workers share its socket; the first of them is the likeliest to be the server.
        pids.sort_unstable();
        let has_one = |pid: &u32| {
            let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
            descriptors.flatten().any(|fd| {
                std::fs::read_link(fd.path())
                    .is_ok_and(|to| to.to_str().is_some_and(|to| sockets.iter().any(|socket| socket == to)))
            })
        };
        let pid = pids.into_iter().find(has_one)?;
        Some(Listener { pid, command: process::command_line(pid)? })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_table_line_is_read() {
            let line = "   1: 0100007F:0C1C 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 \
                        4711 1 0000000000000000 100 0 0 10 0";
            assert_eq!(listening_socket(line), Some((3100, 4711)));
            assert_eq!(listening_socket(&line.replace(" 0A ", " 01 ")), None);
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod platform {
    use std::collections::BTreeSet;
    use std::io::ErrorKind;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

    use super::Listener;

    pub(super) fn in_use(port: u16) -> bool {
        let addresses: [IpAddr; 4] = [
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::LOCALHOST.into(),
        ];
        addresses.into_iter().any(|address| match TcpListener::bind((address, port)) {
            Ok(_) => false,
            Err(e) => matches!(e.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied),
        })
    }

    pub(super) fn listener(_port: u16) -> Option<Listener> {
        None
    }

    pub(super) fn listening_ports() -> Option<BTreeSet<u16>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_listener_is_seen_wherever_it_listens() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(server) = TcpListener::bind(address) else {
                assert!(address.starts_with('['), "{address}: only IPv6 may be missing");
                continue;
            };
            let port = server.local_addr().unwrap().port();
            assert!(in_use(port), "{address}");
            #[cfg(target_os = "linux")]
            {
                assert!(listening_ports().unwrap().contains(&port), "{address}");
                assert!(platform::from_proc().unwrap().iter().any(|(p, _)| *p == port), "{address}");
                let listener = listener(port).unwrap();
                assert_eq!(listener.pid, crate::sys::current_pid());
                assert!(listener.command.contains("portdaddy"), "{listener:?}");
            }
        }
    }

    #[test]
    fn a_closed_server_leaves_its_port_free_though_connections_linger() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // The side that closes first is left in TIME_WAIT: the server's.
        drop(server.accept().unwrap());
        drop(server);
        drop(client);
        assert!(!in_use(port));
        assert!(listener(port).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn two_who_try_at_once_do_not_hinder_each_other() {
        let port = {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            server.local_addr().unwrap().port()
        };
        std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..200).filter(|_| in_use(port)).count())).collect();
            assert_eq!(tries.into_iter().map(|t| t.join().unwrap()).sum::<usize>(), 0);
        });
    }
}
