//! HMAC-SHA-256 (RFC 2104).

use sha2::{Digest, Sha256};

/// The code of `text` under `key`.
pub(crate) fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    // A key longer than a block is hashed; a shorter one is filled with zeros.
    let mut block = [0_u8; 64];
    let short: Vec<u8> = if key.len() > block.len() {
        Sha256::digest(key).to_vec()
    } else {
        key.to_vec()
    };
    block.iter_mut().zip(&short).for_each(|(b, k)| *b = *k);
    let padded = |pad: u8| block.map(|b| b ^ pad);
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.2, §4.3 and §4.7.
    #[test]
    fn codes_are_those_of_the_standard() {
        let hex =
            |bytes: [u8; 32]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        assert_eq!(
            hex(hmac_sha256(&[0x0b; 20], b"Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(hmac_sha256(&[0xaa; 131], long)),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
