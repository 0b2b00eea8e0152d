//! Layer encryption of cells: AES-256 with the IV itself encrypted before and after
//! (documentation `tunnels/implementation`, "Participant processing").

use crate::crypto::Key32;
use crate::crypto::aes::{Decryptor, Encryptor};
use crate::wire::tunnel::{CELL_LEN, ID_LEN, IV_LEN};

/// Cells that are encrypted together: enough for a pipeline, few enough for the registers.
const LANES: usize = 8;

/// The two keys of a hop, not expanded: 64 bytes, for the many tunnels that carry nothing.
pub(crate) struct LayerKeys {
    /// For the data.
    pub(crate) layer: Key32,
    /// For the IV.
    pub(crate) iv: Key32,
}

/// What a hop does, with its keys expanded once.
pub(crate) struct Layer {
    data: Encryptor,
    iv: Encryptor,
}

/// What undoes it, for the creator.
pub(crate) struct Unlayer {
    data: Decryptor,
    iv: Decryptor,
}

impl Layer {
    /// Expands the keys.
    pub(crate) fn new(keys: &LayerKeys) -> Self {
        Self { data: Encryptor::new(keys.layer.as_bytes()), iv: Encryptor::new(keys.iv.as_bytes()) }
    }

    /// What every hop does to a cell, in place. Bytes that are no cell stay as they are.
    pub(crate) fn encrypt(&self, cell: &mut [u8]) {
        let Some((iv, data)) = parts(cell) else { return };
        self.iv.encrypt_block(iv);
        self.data.cbc_encrypt(iv, data);
        self.iv.encrypt_block(iv);
    }

    /// The same for many cells of any tunnels, several at once.
    pub(crate) fn encrypt_all(cells: &mut [(&Self, &mut [u8; CELL_LEN])]) {
        let (groups, rest) = cells.as_chunks_mut::<LANES>();
        for group in groups {
            Self::encrypt_lanes(group);
        }
        let (pairs, last) = rest.as_chunks_mut::<2>();
        for pair in pairs {
            Self::encrypt_lanes(pair);
        }
        for (layer, cell) in last {
            layer.encrypt(&mut **cell);
        }
    }

    fn encrypt_lanes<const N: usize>(cells: &mut [(&Self, &mut [u8; CELL_LEN]); N]) {
        let mut lanes = cells.each_mut().map(|(layer, cell)| {
            let (iv, data) = parts(&mut **cell).unzip();
            (*layer, iv, data.unwrap_or_default())
        });
        for (layer, iv, _) in &mut lanes {
            if let Some(iv) = iv {
                layer.iv.encrypt_block(iv);
            }
        }
        Encryptor::cbc_encrypt_lanes(lanes.each_mut().map(|(layer, iv, data)| {
            (&layer.data, iv.as_deref().unwrap_or(&[0; IV_LEN]), &mut **data)
        }));
        for (layer, iv, _) in &mut lanes {
            if let Some(iv) = iv {
                layer.iv.encrypt_block(iv);
            }
        }
    }
}

impl Unlayer {
    /// Expands the keys.
    pub(crate) fn new(keys: &LayerKeys) -> Self {
        Self { data: Decryptor::new(keys.layer.as_bytes()), iv: Decryptor::new(keys.iv.as_bytes()) }
    }

    /// Undoes a hop: the creator does it before sending into an outbound tunnel and after
    /// receiving from an inbound one.
    pub(crate) fn decrypt(&self, cell: &mut [u8]) {
        let Some((iv, data)) = parts(cell) else { return };
        self.iv.decrypt_block(iv);
        self.data.cbc_decrypt(iv, data);
        self.iv.decrypt_block(iv);
    }
}

fn parts(cell: &mut [u8]) -> Option<(&mut [u8; IV_LEN], &mut [u8])> {
    let (_id, rest) = cell.split_first_chunk_mut::<ID_LEN>()?;
    rest.split_first_chunk_mut::<IV_LEN>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(n: u8) -> LayerKeys {
        LayerKeys { layer: Key32::new([n; 32]), iv: Key32::new([n + 100; 32]) }
    }

    fn layer(n: u8) -> Layer {
        Layer::new(&keys(n))
    }

    #[test]
    fn decrypting_last_hop_first_undoes_what_the_hops_do() {
        let plain: [u8; CELL_LEN] = core::array::from_fn(|i| i as u8);
        let hops = [layer(1), layer(2), layer(3)];
        let mut cell = plain;
        for n in [3, 2, 1] {
            Unlayer::new(&keys(n)).decrypt(&mut cell);
        }
        for hop in &hops {
            let before = cell;
            hop.encrypt(&mut cell);
            assert!(before[4..20] != cell[4..20] && before[20..] != cell[20..]);
            assert_eq!(before[..4], cell[..4], "the id is not part of the layer");
        }
        assert_eq!(cell, plain);
    }

    #[test]
    fn many_at_once_are_as_many_one_by_one() {
        let layers: [Layer; 3] = [layer(1), layer(2), layer(3)];
        for count in 0..30 {
            let plain = |i: usize| -> [u8; CELL_LEN] { core::array::from_fn(|n| (n * i) as u8) };
            let mut got: alloc::vec::Vec<[u8; CELL_LEN]> = (0..count).map(plain).collect();
            let mut all: alloc::vec::Vec<(&Layer, &mut [u8; CELL_LEN])> =
                got.iter_mut().enumerate().map(|(i, c)| (&layers[i % 3], c)).collect();
            Layer::encrypt_all(&mut all);
            for (i, got) in got.iter().enumerate() {
                let mut want = plain(i);
                layers[i % 3].encrypt(&mut want);
                assert!(*got == want, "{i} of {count}");
            }
        }
    }

    #[test]
    fn the_iv_is_encrypted_before_and_after_the_data() {
        let (data, iv) = (Encryptor::new(&[1; 32]), Encryptor::new(&[101; 32]));
        let mut cell = [7; CELL_LEN];
        layer(1).encrypt(&mut cell);
        let mut want_iv = [7; 16];
        iv.encrypt_block(&mut want_iv);
        let mut want = [7; 1008];
        data.cbc_encrypt(&want_iv, &mut want);
        iv.encrypt_block(&mut want_iv);
        assert_eq!((&cell[4..20], &cell[20..]), (&want_iv[..], &want[..]));
    }
}
