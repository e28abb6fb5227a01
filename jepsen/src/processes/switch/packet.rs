//! As much of IPv4 and TCP as a switch needs: addresses, and forged resets.

use std::net::Ipv4Addr;

const TCP: u8 = 6;
const ADDRESSES: usize = 20;
const TCP_BYTES: usize = 20;
const RST: u8 = 0x04;

/// Sender and receiver of an IPv4 packet.
pub(super) fn ends(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if packet.len() < ADDRESSES || packet[0] >> 4 != 4 {
        return None;
    }
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Some((address(12), address(16)))
}

/// Two resets that end the connection of a TCP packet: for its receiver, and for its sender.
pub(super) fn resets(packet: &[u8]) -> Option<[Vec<u8>; 2]> {
    let (from, to) = ends(packet)?;
    let head = usize::from(packet[0] & 0x0f) * 4;
    if packet[9] != TCP || packet.len() < head + TCP_BYTES {
        return None;
    }
    let tcp = &packet[head..];
    let word = |at: usize| [tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]];
    let (ports, turned) = (word(0), [tcp[2], tcp[3], tcp[0], tcp[1]]);
    Some([
        reset(from, to, ports, word(4)),
        reset(to, from, turned, word(8)),
    ])
}

fn reset(from: Ipv4Addr, to: Ipv4Addr, ports: [u8; 4], sequence: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0_u8; ADDRESSES + TCP_BYTES];
    packet[0] = 0x45;
    packet[3] = (ADDRESSES + TCP_BYTES) as u8;
    packet[8] = 64;
    packet[9] = TCP;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let sum = checksum(&packet[..ADDRESSES], 0);
    packet[10..12].copy_from_slice(&sum);
    packet[20..24].copy_from_slice(&ports);
    packet[24..28].copy_from_slice(&sequence);
    packet[32] = 0x50;
    packet[33] = RST;
    // The pseudo header: both addresses, the protocol, the length.
    let pseudo = u32::from(TCP) + TCP_BYTES as u32;
    let sum = checksum(&packet[12..], pseudo);
    packet[36..38].copy_from_slice(&sum);
    packet
}

/// The internet's: the complement of the sum of 16-bit words.
fn checksum(bytes: &[u8], begin: u32) -> [u8; 2] {
    let mut sum = begin;
    for two in bytes.chunks(2) {
        let low = two.get(1).copied().unwrap_or_default();
        sum += u32::from(u16::from_be_bytes([two[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_goes_each_way_with_the_numbers_that_each_side_expects() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut packet = reset(a, b, [0, 7, 0, 9], [1, 2, 3, 4]);
        packet[28..32].copy_from_slice(&[5, 6, 7, 8]);
        assert_eq!(ends(&packet), Some((a, b)));
        let [to_b, to_a] = resets(&packet).expect("it is TCP");
        assert_eq!(ends(&to_b), Some((a, b)));
        assert_eq!(ends(&to_a), Some((b, a)));
        assert_eq!(
            (&to_b[20..24], &to_b[24..28]),
            (&[0, 7, 0, 9][..], &[1, 2, 3, 4][..])
        );
        assert_eq!(
            (&to_a[20..24], &to_a[24..28]),
            (&[0, 9, 0, 7][..], &[5, 6, 7, 8][..])
        );
        // A checksum over bytes with their checksum is none.
        assert_eq!(checksum(&to_a[..20], 0), [0, 0]);
        assert_eq!(checksum(&to_a[12..], 26), [0, 0]);
    }

    #[test]
    fn rubbish_is_no_packet() {
        assert_eq!(ends(&[0x45; 19]), None);
        assert_eq!(ends(&[0x60; 40]), None);
        assert_eq!(resets(&[0x45; 25]), None);
    }
}
