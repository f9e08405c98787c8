//! The listening TCP sockets, asked of the kernel over netlink (sock_diag(7)).
//!
//! `/proc/net/tcp` says the same, but each read of it walks the table of all connections, which on a machine with much
//! memory takes milliseconds though it is empty. This walks the listening ones alone.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The older request, which answers for IPv4 and IPv6 at once.
const TCPDIAG_GETSOCK: u16 = 18;
/// NLM_F_REQUEST and NLM_F_DUMP.
const REQUEST_ALL: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u32 = 10;
/// Bytes of a message's header, of each request's body and of an answer's.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const OLDER_REQUEST: usize = 60;
const ANSWER: usize = 72;

/// Port and inode of every listening socket; none where the kernel doesn't say (an old one, or a sandbox).
pub(super) fn listening() -> Option<Vec<(u16, u64)>> {
    let socket =
        socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG)).ok()?;
    // The kernel answers at once; whatever else might sit there must not hold anybody up.
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(1))).ok()?;
    // One question instead of two, where the kernel still takes it.
    if let Some(found) = answers(&socket, &older_request()) {
        return Some(found);
    }
    let mut found = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        found.extend(answers(&socket, &request(u8::try_from(family.as_raw()).ok()?))?);
    }
    Some(found)
}

/// What the kernel answers to a request.
fn answers(socket: &OwnedFd, request: &[u8]) -> Option<Vec<(u16, u64)>> {
    send(socket, request, SendFlags::empty()).ok()?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 32 << 10];
    while {
        let (read, length) = recv(socket, &mut buffer[..], RecvFlags::TRUNC).ok()?;
        // A longer one than the buffer has lost its end.
        let whole = buffer.get(..length).filter(|_| read == length)?;
        !take(whole, &mut found)?
    } {}
    Some(found)
}

/// `nlmsghdr` and `inet_diag_req_v2`, in the machine's byte order.
fn request(family: u8) -> [u8; HEADER + REQUEST] {
    let mut bytes = [0; HEADER + REQUEST];
    head(&mut bytes, SOCK_DIAG_BY_FAMILY);
    bytes[HEADER] = family;
    bytes[HEADER + 1] = IPPROTO_TCP;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&(1u32 << TCP_LISTEN).to_ne_bytes());
    bytes
}

/// `nlmsghdr` and `inet_diag_req`: the states come after the 48 bytes that name one socket.
fn older_request() -> [u8; HEADER + OLDER_REQUEST] {
    let mut bytes = [0; HEADER + OLDER_REQUEST];
    head(&mut bytes, TCPDIAG_GETSOCK);
    bytes[HEADER + 52..HEADER + 56].copy_from_slice(&(1u32 << TCP_LISTEN).to_ne_bytes());
    bytes
}

fn head(bytes: &mut [u8], kind: u16) {
    let length = bytes.len() as u32;
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST_ALL.to_ne_bytes());
}

/// Takes the sockets out of what was received; true once that was all. None for what isn't understood.
fn take(mut messages: &[u8], found: &mut Vec<(u16, u64)>) -> Option<bool> {
    while messages.len() >= HEADER {
        let length = usize::try_from(u32::from_ne_bytes(messages.get(0..4)?.try_into().ok()?)).ok()?;
        let kind = u16::from_ne_bytes(messages.get(4..6)?.try_into().ok()?);
        match kind {
            NLMSG_DONE => return Some(true),
            NLMSG_ERROR => return None,
            SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => {
                // `inet_diag_msg`: the local port after four bytes, in the network's order; the inode at the end.
                let body = messages.get(HEADER..HEADER + ANSWER)?;
                let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
                let inode = u32::from_ne_bytes(body.get(68..72)?.try_into().ok()?);
                found.push((port, u64::from(inode)));
            }
            _ => {}
        }
        messages = messages.get(length.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::linux::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_kernel_names_every_listener_and_no_connection() {
        let servers: Vec<_> =
            ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"].into_iter().filter_map(|at| TcpListener::bind(at).ok()).collect();
        let port = |server: &TcpListener| server.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port(&servers[0]))).unwrap();
        let found = listening().expect("Linux answers");
        for server in &servers {
            let fd = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(server));
            let inode = std::fs::metadata(fd).unwrap().st_ino();
            assert!(found.contains(&(port(server), inode)), "{server:?} in {found:?}");
        }
        let of_client = client.local_addr().unwrap().port();
        assert!(!found.iter().any(|(port, _)| *port == of_client));
    }

    #[test]
    fn both_requests_are_answered_alike() {
        let _server = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG));
        let socket = socket.unwrap();
        let mut newer = answers(&socket, &request(2)).unwrap();
        newer.extend(answers(&socket, &request(10)).unwrap());
        let older = answers(&socket, &older_request()).expect("this kernel takes it");
        // Other tests open and close sockets meanwhile.
        assert!(older.iter().filter(|one| newer.contains(one)).count() * 2 > newer.len(), "{older:?} {newer:?}");
    }

    #[test]
    fn what_is_no_answer_is_not_understood() {
        let mut found = Vec::new();
        assert_eq!(take(&[], &mut found), Some(false));
        let mut short = request(2).to_vec();
        short.truncate(40);
        assert_eq!(take(&short, &mut found), None, "an answer without its end");
        let mut error = [0u8; HEADER];
        error[4] = 2;
        assert_eq!(take(&error, &mut found), None);
        assert!(found.is_empty());
    }
}
