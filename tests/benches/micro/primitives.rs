//! Cryptography.

use crate::harness::Bench;
use ramson_core::crypto::sign::SigningKey;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::crypto::{Key32, aead, aes, chacha20, elligator2, hash, kdf, siphash};
use ramson_core::rng::{Rng, Seed};

pub(crate) fn rng() -> Rng {
    Rng::new(&Seed::from_number(1))
}

pub(crate) fn add(bench: &mut Bench) {
    const KEY: Key32 = Key32::new([7; 32]);
    for (len, names) in [
        (64, ["aead seal 64", "aead open 64", "aead seal 64 portable"]),
        (1024, ["aead seal 1024", "aead open 1024", "aead seal 1024 portable"]),
        (16_384, ["aead seal 16384", "aead open 16384", "aead seal 16384 portable"]),
    ] {
        bench.add(names[0], len, || {
            let mut buf = vec![0; len];
            move || aead::seal_with_nonce(&KEY, &[0; 12], b"", &mut buf)
        });
        bench.add(names[1], len, || {
            let mut sealed = vec![0; len];
            let tag = aead::seal_with_nonce(&KEY, &[0; 12], b"", &mut sealed);
            sealed.extend(tag);
            let mut buf = sealed.clone();
            move || {
                buf.copy_from_slice(&sealed);
                aead::open_with_nonce(&KEY, &[0; 12], b"", &mut buf).is_ok()
            }
        });
        bench.add(names[2], len, || {
            let mut buf = vec![0; len];
            move || aead::portable::seal_with_nonce(&KEY, &[0; 12], b"", &mut buf)
        });
    }
    bench.add("x25519 agree", 0, || {
        let (ours, theirs) =
            (PrivateKey::generate(&mut rng()), PrivateKey::from_bytes([9; 32]).public());
        move || ours.diffie_hellman(&theirs).is_ok()
    });
    bench.add("x25519 generate", 0, || {
        let mut rng = rng();
        move || PrivateKey::generate(&mut rng).public()
    });
    bench.add("ed25519 sign 1 KiB", 0, || {
        let key = SigningKey::generate(&mut rng());
        move || key.sign(&[0; 1024])
    });
    bench.add("ed25519 verify 1 KiB", 0, || {
        let key = SigningKey::generate(&mut rng());
        let (public, signature) = (key.public(), key.sign(&[0; 1024]));
        move || public.verify(&[0; 1024], &signature).is_ok()
    });
    bench.add("sha256 32", 32, || || hash::sha256(&[0; 32]));
    bench.add("sha256 1 KiB", 1024, || || hash::sha256(&[0; 1024]));
    bench.add("hkdf to 64", 0, || || kdf::hkdf2(&[1; 32], &[2; 32], b"info"));
    bench.add("siphash 8", 8, || || siphash::siphash24(1, 2, &[0; 8]));
    bench.add("aes cbc encrypt 1008", 1008, || {
        let (key, mut buf) = (aes::Encryptor::new(&[7; 32]), vec![0; 1008]);
        move || key.cbc_encrypt(&[0; 16], &mut buf)
    });
    bench.add("aes cbc encrypt 1008, 8 lanes", 8 * 1008, || {
        let keys: [_; 8] = std::array::from_fn(|n| aes::Encryptor::new(&[n as u8; 32]));
        let mut bufs = [[0; 1008]; 8];
        move || {
            let mut lanes = keys.iter().zip(&mut bufs);
            aes::Encryptor::cbc_encrypt_lanes(std::array::from_fn::<_, 8, _>(|_| {
                let (key, buf) = lanes.next().unwrap();
                (key, &[0; 16], &mut buf[..])
            }));
        }
    });
    bench.add("aes cbc decrypt 1008", 1008, || {
        let (key, mut buf) = (aes::Decryptor::new(&[7; 32]), vec![0; 1008]);
        move || key.cbc_decrypt(&[0; 16], &mut buf)
    });
    bench.add("aes key set-up", 0, || || aes::Encryptor::new(&[7; 32]));
    bench.add("chacha20 218", 218, || {
        let mut buf = vec![0; 218];
        move || chacha20::apply(&KEY, &[0; 12], &mut buf)
    });
    bench.add("elligator2 generate", 0, || {
        let mut rng = rng();
        move || elligator2::KeyPair::generate(&mut rng).map(|pair| pair.encoded)
    });
    bench.add("elligator2 decode", 0, || {
        let encoded = elligator2::KeyPair::generate(&mut rng()).unwrap().encoded;
        move || elligator2::decode(&encoded)
    });
}
