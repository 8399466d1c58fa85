//! CRC-32C (Castagnoli), and its algebra.
//!
//! A CRC is the remainder of a polynomial over GF(2). Appending `n` bytes multiplies it by
//! `x^(8n)`: with that power at hand, two CRCs combine in one multiplication of 32 steps.

/// The polynomial, reflected: bit 31 is `x^0`.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `x^(2^k)` for every k below 64 (the powers repeat after 2^32 - 1, so any exponent fits).
const POWERS: [u32; 64] = {
    let mut powers = [0; 64];
    powers[0] = 1 << 30;
    let mut k = 1;
    while k < 64 {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// The product of two polynomials, reduced.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

/// `x^(8 * bytes)`, reduced.
const fn shift(bytes: u64) -> u32 {
    let mut power = 1 << 31;
    let (mut k, mut rest) = (3, bytes);
    while rest != 0 {
        if rest & 1 == 1 {
            power = multiply(POWERS[k % 64], power);
        }
        rest >>= 1;
        k += 1;
    }
    power
}

/// The CRC-32C of `bytes`, by the CPU's own instructions where the feature `std` can find them.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(feature = "std")]
    {
        crc_fast::crc32_iscsi(bytes)
    }
    #[cfg(not(feature = "std"))]
    {
        const TABLE: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);
        TABLE.checksum(bytes)
    }
}

/// The CRC-32C of two pieces in a row, from the CRC of each and the second's length in bytes.
#[must_use]
pub const fn crc32c_combine(first: u32, second: u32, second_len: u64) -> u32 {
    multiply(shift(second_len), first) ^ second
}

/// The CRC-32C of `len` zero bytes, in time that grows with the logarithm of `len`.
#[must_use]
pub const fn crc32c_zeros(len: u64) -> u32 {
    !multiply(shift(len), u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn crc32c_matches_the_published_check_value() {
        // RFC 3720 B.4 and the catalogue of parametrised CRC algorithms: CRC-32/ISCSI.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn pieces_combine_to_the_whole() {
        let bytes: vec::Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect();
        for cut in [0, 1, 2, 4095, 4096, 65_536, 99_999, 100_000] {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(
                crc32c_combine(crc32c(first), crc32c(second), second.len() as u64),
                crc32c(&bytes),
                "{cut}"
            );
        }
    }

    #[test]
    fn zeros_cost_no_bytes() {
        for len in [0, 1, 2, 3, 31, 32, 4095, 4096, 100_000] {
            assert_eq!(crc32c_zeros(len), crc32c(&vec![0; len as usize]), "{len}");
        }
        // 2^63 zeros: the same as four times 2^61.
        let quarter = crc32c_zeros(1 << 61);
        let half = crc32c_combine(quarter, quarter, 1 << 61);
        assert_eq!(crc32c_combine(half, half, 1 << 62), crc32c_zeros(1 << 63));
    }
}
