//! G.711 decoding (ITU-T G.711): one octet to one linear sample, by table.
//! Takes: a payload of RFC 3551 §4.5.14 (one octet a sample, most significant bit first). Gives: PCM.
//! Leaves out: encoding on the packet path; [`encode_mu_law`] and [`encode_a_law`] serve callees and tests.

/// Sampling rate of G.711 in Hz.
pub const SAMPLE_RATE_HZ: u32 = 8_000;

/// Added before a mu-law segment is looked up, taken off after (G.711 table 2a, scaled to 16 bit).
const MU_LAW_BIAS: i32 = 0x84;

static MU_LAW: [i16; 256] = table(false);
static A_LAW: [i16; 256] = table(true);

/// The sample that a mu-law octet stands for.
#[inline]
pub fn decode_mu_law(octet: u8) -> i16 {
    MU_LAW[usize::from(octet)]
}

/// The sample that an A-law octet stands for.
#[inline]
pub fn decode_a_law(octet: u8) -> i16 {
    A_LAW[usize::from(octet)]
}

/// The mu-law octet nearest to a sample.
pub fn encode_mu_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs().min(32_635)) + MU_LAW_BIAS;
    // The bias puts the highest set bit between 7 and 14: the segment counts from there.
    let segment = magnitude.ilog2() - 7;
    let step = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | (segment as u8) << 4 | step as u8)
}

/// The A-law octet nearest to a sample.
pub fn encode_a_law(sample: i16) -> u8 {
    // G.711 table 1a: positive values carry the sign bit, and every even bit is inverted.
    let (sign, magnitude) = if sample < 0 { (0, !i32::from(sample)) } else { (0x80, i32::from(sample)) };
    let octet = if magnitude < 0x100 {
        magnitude >> 4
    } else {
        let segment = magnitude.ilog2() as i32 - 7;
        segment << 4 | (magnitude >> (segment + 3)) & 0x0f
    };
    (sign | octet as u8) ^ 0x55
}

const fn table(a_law: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = if a_law { a_law_sample(octet as u8) } else { mu_law_sample(octet as u8) };
        octet += 1;
    }
    table
}

const fn mu_law_sample(octet: u8) -> i16 {
    // G.711 table 2a: all bits are sent inverted.
    let octet = !octet;
    let segment = (octet >> 4) & 7;
    let magnitude = ((((octet & 0x0f) as i32) << 3) + MU_LAW_BIAS) << segment;
    let magnitude = (magnitude - MU_LAW_BIAS) as i16;
    if octet & 0x80 == 0 { magnitude } else { -magnitude }
}

const fn a_law_sample(octet: u8) -> i16 {
    let octet = octet ^ 0x55;
    let segment = (octet >> 4) & 7;
    // Half a step is added so that the sample lies in the middle of its interval.
    let step = (((octet & 0x0f) as i32) << 4) + 8;
    let magnitude = if segment == 0 { step } else { (step + 0x100) << (segment - 1) } as i16;
    if octet & 0x80 == 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_recommendation() {
        // G.711 tables 1a to 2b, 14 and 13 bit values scaled to 16 bit.
        assert_eq!((decode_mu_law(0xff), decode_mu_law(0x7f)), (0, 0));
        assert_eq!((decode_mu_law(0x80), decode_mu_law(0x00)), (32_124, -32_124));
        assert_eq!((decode_a_law(0xd5), decode_a_law(0x55)), (8, -8));
        assert_eq!((decode_a_law(0xaa), decode_a_law(0x2a)), (32_256, -32_256));
    }

    #[test]
    fn every_octet_survives_a_round_trip() {
        for octet in 0..=255 {
            // 0x7f is mu-law's second zero, which encodes as the first.
            let expected = if octet == 0x7f { 0xff } else { octet };
            assert_eq!(encode_mu_law(decode_mu_law(octet)), expected);
            assert_eq!(encode_a_law(decode_a_law(octet)), octet);
        }
    }

    #[test]
    fn every_sample_lands_within_its_step() {
        for sample in i16::MIN..=i16::MAX {
            let step = (i32::from(sample).abs() / 16).max(16);
            for decoded in [decode_mu_law(encode_mu_law(sample)), decode_a_law(encode_a_law(sample))] {
                assert!((i32::from(decoded) - i32::from(sample)).abs() <= step, "{sample} {decoded}");
            }
        }
    }
}
