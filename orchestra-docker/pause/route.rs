//! Routes: what leads a network to this host.

use super::{exit, number, syscall};

const AF_NETLINK: usize = 16;
const SOCK_RAW: usize = 3;
const AF_INET: u8 = 2;
const REQUEST_AND_ACK: u8 = 1 | 4;
const RTM_NEWROUTE: u8 = 24;
const RTM_DELROUTE: u8 = 25;
/// `NLM_F_CREATE | NLM_F_EXCL`, shifted into the second byte of the flags.
const CREATE: u8 = ((0x400_u16 | 0x200) >> 8) as u8;
const PREFIX: u8 = 16;
const TABLE_LOCAL: u8 = 255;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;
const ATTRIBUTE_BYTES: u8 = 8;
const DESTINATION: u8 = 1;
const INTERFACE: u8 = 4;
/// The kernel gives `lo` this number in every network namespace.
const LOOPBACK: u8 = 1;
const ALREADY: i32 = -17;
const NOT_THERE: i32 = -3;

/// A `nlmsghdr`, a `rtmsg` and two attributes; both of our architectures are little-endian.
fn message(add: bool, network: [u8; 2]) -> [u8; 44] {
    let mut bytes = [0_u8; 44];
    (bytes[0], bytes[8]) = (44, 1);
    (bytes[4], bytes[7]) = if add { (RTM_NEWROUTE, CREATE) } else { (RTM_DELROUTE, 0) };
    bytes[6] = REQUEST_AND_ACK;
    (bytes[16], bytes[17], bytes[20], bytes[21]) = (AF_INET, PREFIX, TABLE_LOCAL, PROTOCOL_STATIC);
    (bytes[22], bytes[23]) = (SCOPE_HOST, TYPE_LOCAL);
    (bytes[28], bytes[30], bytes[32], bytes[33]) = (ATTRIBUTE_BYTES, DESTINATION, network[0], network[1]);
    (bytes[36], bytes[38], bytes[40]) = (ATTRIBUTE_BYTES, INTERFACE, LOOPBACK);
    bytes
}

/// Makes the host answer for all addresses of a /16, or ends that. The exit code is 0, also where it was so before; or
/// the number of the kernel's error.
pub(crate) fn route(add: bool, network: [u8; 2]) -> ! {
    let bytes = message(add, network);
    let mut answer = [0_u8; 256];
    // SAFETY: the buffers have the lengths given, and outlive the calls.
    unsafe {
        let socket = syscall(number::SOCKET, AF_NETLINK, SOCK_RAW, 0, 0);
        if socket < 0 {
            exit(socket.unsigned_abs());
        }
        let sent = syscall(number::WRITE, socket as usize, bytes.as_ptr() as usize, bytes.len(), 0);
        if sent < 0 {
            exit(sent.unsigned_abs());
        }
        let read = syscall(number::READ, socket as usize, answer.as_mut_ptr() as usize, answer.len(), 0);
        // An error message, which an acknowledgement is too: the code follows its header.
        if read < 20 || answer[4] != 2 {
            exit(70);
        }
    }
    match i32::from_le_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => exit(0),
        ALREADY if add => exit(0),
        NOT_THERE if !add => exit(0),
        error => exit(error.unsigned_abs() as usize),
    }
}
