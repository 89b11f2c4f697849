//! Signature algorithms of other people's ID tokens: an allow-list, each for one kind of key.

use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents as Rsa, VerificationAlgorithm,
};

/// An algorithm that an ID token may be signed with. `none` and the symmetric ones are not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            _ => return None,
        })
    }

    /// The parameters for an RSA key of 2048 to 8192 bits; `None` for another kind of key.
    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::Es512 => None,
        }
    }
}

/// A public key, which has a kind and thereby a say in which algorithms it serves.
#[derive(Debug, Clone)]
pub(crate) enum PublicKey {
    /// Modulus and exponent without leading zeros, at least 2048 bits.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point of the curve of one algorithm.
    Ec {
        algorithm: Algorithm,
        parsed: ParsedPublicKey,
    },
}

impl PublicKey {
    /// An RSA key; `None` if it has fewer than 2048 bits.
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let top = n.first()?;
        let bits = n.len() * 8 - usize::try_from(top.leading_zeros()).ok()?;
        let fits = (2048..=8192).contains(&bits) && !e.is_empty();
        fits.then(|| Self::Rsa {
            n: n.to_vec(),
            e: e.to_vec(),
        })
    }

    /// A key on the curve `crv`; `None` if the curve is unknown or the point is not on it.
    pub(crate) fn ec(crv: &str, x: &[u8], y: &[u8]) -> Option<Self> {
        let (algorithm, length, params): (_, _, &'static dyn VerificationAlgorithm) = match crv {
            "P-256" => (Algorithm::Es256, 32, &signature::ECDSA_P256_SHA256_FIXED),
            "P-384" => (Algorithm::Es384, 48, &signature::ECDSA_P384_SHA384_FIXED),
            "P-521" => (Algorithm::Es512, 66, &signature::ECDSA_P521_SHA512_FIXED),
            _ => return None,
        };
        if x.len() != length || y.len() != length {
            return None;
        }
        let point = [&[4], x, y].concat();
        let parsed = ParsedPublicKey::new(params, point).ok()?;
        Some(Self::Ec { algorithm, parsed })
    }

    /// Whether this kind of key serves `algorithm` at all.
    pub(crate) fn serves(&self, algorithm: Algorithm) -> bool {
        match self {
            PublicKey::Rsa { .. } => algorithm.rsa().is_some(),
            PublicKey::Ec { algorithm: own, .. } => *own == algorithm,
        }
    }

    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Rsa { n, e } => algorithm
                .rsa()
                .is_some_and(|params| Rsa { n, e }.verify(params, message, signature).is_ok()),
            PublicKey::Ec {
                algorithm: own,
                parsed,
            } => *own == algorithm && parsed.verify_sig(message, signature).is_ok(),
        }
    }
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
