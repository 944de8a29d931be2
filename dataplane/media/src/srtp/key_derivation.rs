//! Session keys from master key and master salt (RFC 3711 §4.3; for AES-GCM: RFC 7714 §11).
//! The key derivation rate is 0: keys are derived once.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use sipcast_contract::{SrtpMaster, SrtpSuite};

/// What a session key is for (RFC 3711 §4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Fills `out` with the session key of `label`.
pub(super) fn derive<const LEN: usize>(suite: SrtpSuite, master: &SrtpMaster, label: Label) -> [u8; LEN] {
    // RFC 3711 §4.3.1: x = salt XOR (label || r), r of 48 bits being 0; §4.3.3: the IV is x * 2^16.
    // RFC 7714 §11: a salt of 96 bits is widened to 112 with zeros behind it.
    let mut iv = [0; 16];
    iv[..suite.salt_len()].copy_from_slice(&master.salt[..suite.salt_len()]);
    iv[7] ^= label as u8;
    let mut out = [0; LEN];
    add_key_stream(&aes_ctr(&master.key), iv, &mut out);
    out
}

/// AES-128 in counter mode; its schedule is kept.
pub(super) fn aes_ctr(key: &[u8; SrtpSuite::KEY_LEN]) -> EncryptingKey {
    let key = UnboundCipherKey::new(&AES_128, key).expect("an AES-128 key has 16 bytes");
    EncryptingKey::ctr(key).expect("AES-128 has a counter mode")
}

/// Encrypts or decrypts in place: in counter mode it is the same.
pub(super) fn add_key_stream(key: &EncryptingKey, iv: [u8; 16], bytes: &mut [u8]) {
    key.less_safe_encrypt(bytes, EncryptionContext::Iv128((&iv).into()))
        .expect("counter mode takes any length and an IV of 16 bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const LEN: usize>(text: &str) -> [u8; LEN] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal"))
    }

    /// RFC 3711 B.3.
    #[test]
    fn published_session_keys() {
        let master = SrtpMaster {
            key: hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            salt: hex("0EC675AD498AFEEBB6960B3AABE6"),
        };
        let suite = SrtpSuite::AesCm128HmacSha1_80;
        assert_eq!(
            derive::<16>(suite, &master, Label::RtpEncryption),
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(derive::<14>(suite, &master, Label::RtpSalt), hex("30CBBC08863D8C85D49DB34A9AE1"));
        // The vector has 94 bytes, for other authentication functions; HMAC-SHA1 takes the first 20.
        assert_eq!(
            derive::<94>(suite, &master, Label::RtpAuthentication),
            hex(
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2"
            )
        );
    }

    /// RFC 3711 B.2.
    #[test]
    fn published_key_stream() {
        let key = aes_ctr(&hex("2B7E151628AED2A6ABF7158809CF4F3C"));
        let mut stream = [0; 48];
        add_key_stream(&key, hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000"), &mut stream);
        let expected = hex::<48>(
            "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB41E95B3BB0A2E8DD477901E4FCA894C0",
        );
        assert_eq!(stream, expected);
    }
}
