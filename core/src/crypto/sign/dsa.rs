//! DSA with SHA-1 over the one 1024-bit group of I2P (specification `cryptography`): verification
//! only, for identities of the network's first years.

use super::BadSignature;
use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use crypto_bigint::{NonZero, U192, U1024, const_monty_params};
use sha1::{Digest, Sha1};

const_monty_params!(
    P,
    U1024,
    "9c05b2aa960d9b97b8931963c9cc9e8c3026e9b8ed92fad0a69cc886d5bf8015\
     fcadae31a0ad18fab3f01b00a358de237655c4964afaa2b337e96ad316b9fb1c\
     c564b5aec5b69a9ff6c3e4548707fef8503d91dd8602e867e6d35d2235c1869c\
     e2479c3b9d5401de04e0727fb33d6511285d4cf29538d9e3b6051f5b22cc1c93",
    "The prime."
);
const_monty_params!(
    Q,
    U192,
    "00000000a5dfc28fef4ca1e286744cd8eed9d29d684046b7",
    "The order of the subgroup: 160 bits, in the next size that has a name."
);

const G: U1024 = U1024::from_be_hex(
    "0c1f4d27d40093b429e962d7223824e0bbc47e7c832a39236fc683af84889581\
     075ff9082ed32353d4374d7301cda1d23c431f4698599dda02451824ff369752\
     593647cc3ddc197de985e43d136cdcfc6bd5409cd2f450821142a5e6f8eb1c3a\
     b5d0484b8129fcf17bce4f7f33321c3cb3dbb14a905e7b2b3e93be4708cbcc82",
);
const ORDER: U192 = *Q::PARAMS.modulus().as_ref();
const NONZERO_ORDER: NonZero<U192> = *Q::PARAMS.modulus().as_nz_ref();

type ModP = ConstMontyForm<P, { U1024::LIMBS }>;
type ModQ = ConstMontyForm<Q, { U192::LIMBS }>;

/// FIPS 186-4, section 4.7. Everything here is public, so nothing needs constant time.
pub(super) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let key: &[u8; 128] = key.try_into().map_err(|_| BadSignature::Mismatch)?;
    let signature: &[u8; 40] = signature.try_into().map_err(|_| BadSignature::Mismatch)?;
    let ([r, s], []) = signature.as_chunks::<20>() else {
        return Err(BadSignature::Mismatch);
    };
    let (r, s) = (number(r), number(s));
    let zero = U192::ZERO;
    if r == zero || s == zero || r >= ORDER || s >= ORDER {
        return Err(BadSignature::Mismatch);
    }
    let w = ModQ::new(&s).invert_vartime().into_option().ok_or(BadSignature::Mismatch)?;
    let digest = ModQ::new(&number(&Sha1::digest(message).into()).rem_vartime(&NONZERO_ORDER));
    let u1 = (digest * w).retrieve();
    let u2 = (ModQ::new(&r) * w).retrieve();
    let v = ModP::new(&G).pow_vartime(&u1) * ModP::new(&U1024::from_be_slice(key)).pow_vartime(&u2);
    if v.retrieve().rem_vartime(&NONZERO_ORDER) == r { Ok(()) } else { Err(BadSignature::Mismatch) }
}

/// 160 bits, big-endian.
fn number(bytes: &[u8; 20]) -> U192 {
    let mut wide = [0; 24];
    if let Some(low) = wide.last_chunk_mut::<20>() {
        *low = *bytes;
    }
    U192::from_be_slice(&wide)
}
