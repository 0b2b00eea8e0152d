//! In place of X25519: a public key is the digest of the private one, and a secret that of both public ones.

use super::mix::Mix;

/// Bits of the last byte that the real ones never have, or that Elligator2 needs for chance.
const SPARE: u8 = 0xc0;

pub(in crate::crypto) fn public(secret: &[u8; 32]) -> [u8; 32] {
    let mut public: [u8; 32] = Mix::new(1).bytes(secret).out();
    if let Some(last) = public.last_mut() {
        *last &= !SPARE;
    }
    public
}

/// All zeros with a key that the real one takes for a point of low order.
pub(in crate::crypto) fn shared(secret: &[u8; 32], remote: &[u8; 32]) -> [u8; 32] {
    if let [0..=1, rest @ ..] = remote
        && rest.iter().all(|b| *b == 0)
    {
        return [0; 32];
    }
    let ours = public(secret);
    // Both sides put them in alike.
    let (low, high) = if ours < *remote { (&ours, remote) } else { (remote, &ours) };
    Mix::new(2).bytes(low).bytes(high).out()
}
