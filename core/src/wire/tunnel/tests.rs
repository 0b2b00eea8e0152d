use super::*;
use alloc::vec;

fn instructions() -> Vec<Instructions> {
    let hash = Hash([7; 32]);
    let mut all = Vec::new();
    for fragmented in [None, Some(0x0102_0304)] {
        for delivery in
            [Delivery::Local, Delivery::Tunnel { gateway: hash, tunnel: 9 }, Delivery::Router(hash)]
        {
            all.push(Instructions::First { delivery, fragmented });
        }
    }
    for number in [1, 5, 63] {
        for last in [false, true] {
            all.push(Instructions::FollowOn { message: 77, number, last });
        }
    }
    all
}

#[test]
fn instructions_round_trip_and_every_cut_is_refused() {
    for i in instructions() {
        let mut out = Vec::new();
        i.encode(600, &mut out);
        assert_eq!(out.len(), i.encoded_len());
        let mut r = Reader::new(&out);
        assert_eq!(Instructions::decode(&mut r), Ok((i, 600)));
        assert_eq!(r.finish(), Ok(()));
        for cut in 0..out.len() {
            assert!(Instructions::decode(&mut Reader::new(&out[..cut])).is_err());
        }
    }
}

#[test]
fn tunnel_instructions_carry_the_id_before_the_hash() {
    let mut out = Vec::new();
    let delivery = Delivery::Tunnel { gateway: Hash([0xaa; 32]), tunnel: 0x0102_0304 };
    Instructions::First { delivery, fragmented: Some(0x0506_0708) }.encode(0x0910, &mut out);
    assert_eq!(&out[..5], &[0x28, 1, 2, 3, 4]);
    assert_eq!(&out[5..37], &[0xaa; 32]);
    assert_eq!(&out[37..], &[5, 6, 7, 8, 9, 0x10]);
}

#[test]
fn undefined_flags_types_and_fragment_zero_are_refused() {
    for first in [0x10, 0x04, 0x60, 0x80, 0x81] {
        let mut bytes = [0; 64];
        bytes[0] = first;
        assert!(matches!(
            Instructions::decode(&mut Reader::new(&bytes)),
            Err(DecodeError::Invalid(_))
        ));
    }
}

#[test]
fn fragments_are_walked_and_an_error_ends_the_walk() {
    let mut payload = Vec::new();
    for (n, i) in instructions().iter().enumerate() {
        i.encode(n as u16, &mut payload);
        payload.resize(payload.len() + n, n as u8);
    }
    let walked: Vec<_> = Fragments::new(&payload).map(Result::unwrap).collect();
    assert_eq!(walked.len(), instructions().len());
    for (n, (i, data)) in walked.iter().enumerate() {
        assert_eq!(*i, instructions()[n]);
        assert_eq!(*data, vec![n as u8; n]);
    }
    let cut: Vec<_> = Fragments::new(&payload[..payload.len() - 1]).collect();
    assert_eq!(cut.len(), walked.len());
    assert_eq!(cut.last().unwrap(), &Err(DecodeError::Truncated));
}

#[test]
fn payloads_are_found_behind_their_padding_and_flips_are_refused() {
    for len in [0, 1, 500, MAX_PAYLOAD_LEN] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let iv = [3; IV_LEN];
        let mut cell = vec![0; ID_LEN];
        cell.extend_from_slice(&iv);
        cell.extend_from_slice(&payload_checksum(&payload, &iv));
        cell.resize(CELL_LEN - len - 1, 0xff);
        cell.push(0);
        cell.extend_from_slice(&payload);
        assert_eq!(open_payload(&cell), Ok(&payload[..]));
        for at in [4, 19, 20, 23, CELL_LEN - 1] {
            let mut bad = cell.clone();
            bad[at] ^= 1;
            assert!(open_payload(&bad).is_err(), "flip at {at} of a payload of {len}");
        }
        for cut in 0..cell.len() {
            assert!(open_payload(&cell[..cut]).is_err());
        }
        cell.push(0);
        assert_eq!(open_payload(&cell), Err(DecodeError::Trailing));
    }
    let mut full = vec![1; CELL_LEN];
    assert_eq!(open_payload(&full), Err(DecodeError::Invalid("cell padding")));
    full.fill(0);
    assert!(open_payload(&full).is_err());
}

#[test]
fn gateway_bodies_hold_the_bytes_as_they_are() {
    let body = gateway_body(5, b"message").unwrap();
    let decoded = crate::wire::i2np::TunnelGateway::decode(&body).unwrap();
    assert_eq!((decoded.tunnel, decoded.data), (5, &b"message"[..]));
    assert_eq!(tunnel_id(&body), Ok(5));
    assert!(gateway_body(5, &vec![0; 65536]).is_err());
}

fn request(role: Role) -> Request {
    Request {
        receive_tunnel: 1,
        next_tunnel: 2,
        next: Hash([3; 32]),
        role,
        layer: 0,
        minutes: 29_000_000,
        lifetime: 600,
        next_message: 4,
    }
}

#[test]
fn short_requests_have_the_offsets_of_the_spec() {
    let bytes = request(Role::Endpoint).encode_short();
    assert_eq!(bytes.len(), SHORT_REQUEST_LEN);
    assert_eq!(bytes[..8], [0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!(bytes[8..40], [3; 32]);
    assert_eq!(bytes[40..44], [0x40, 0, 0, 0]);
    assert_eq!(bytes[44..48], 29_000_000u32.to_be_bytes());
    assert_eq!(bytes[48..52], 600u32.to_be_bytes());
    assert_eq!(bytes[52..58], [0, 0, 0, 4, 0, 0]);
}

#[test]
fn requests_round_trip_and_every_cut_is_refused() {
    for role in [Role::Gateway, Role::Participant, Role::Endpoint] {
        let mut short = request(role).encode_short();
        assert_eq!(Request::decode_short(&short), Ok(request(role)));
        let long = LongRequest {
            request: request(role),
            layer_key: Key32::new([5; 32]),
            iv_key: Key32::new([6; 32]),
            reply_key: Key32::new([7; 32]),
            reply_iv: [8; 16],
        };
        let mut bytes = long.encode();
        assert_eq!(bytes.len(), LONG_REQUEST_LEN);
        let decoded = LongRequest::decode(&bytes).unwrap();
        assert_eq!(decoded.request, request(role));
        assert_eq!(decoded.encode(), bytes);
        assert_eq!(bytes[136..152], [8; 16]);
        assert_eq!(bytes[152], role.flags());
        for cut in 0..SHORT_REQUEST_LEN {
            assert!(Request::decode_short(&short[..cut]).is_err());
        }
        for cut in 0..LONG_REQUEST_LEN {
            assert!(LongRequest::decode(&bytes[..cut]).is_err());
        }
        short.push(0);
        bytes.push(0);
        assert_eq!(Request::decode_short(&short), Err(DecodeError::Trailing));
        assert!(LongRequest::decode(&bytes).is_err());
    }
}

#[test]
fn a_hop_cannot_be_both_ends_nor_have_a_zero_id() {
    let mut both = request(Role::Gateway).encode_short();
    both[40] = 0xc0;
    assert_eq!(Request::decode_short(&both), Err(DecodeError::Invalid("role of a hop")));
    for zero in [
        Request { receive_tunnel: 0, ..request(Role::Gateway) },
        Request { next_tunnel: 0, ..request(Role::Gateway) },
    ] {
        assert_eq!(
            Request::decode_short(&zero.encode_short()),
            Err(DecodeError::Invalid("tunnel id"))
        );
    }
}

#[test]
fn records_are_counted() {
    let mut body = vec![0; 1 + 3 * SHORT_RECORD_LEN];
    body[0] = 3;
    assert_eq!(counted_records::<SHORT_RECORD_LEN>(&mut body).unwrap().len(), 3);
    for cut in 0..body.len() {
        assert!(counted_records::<SHORT_RECORD_LEN>(&mut body[..cut]).is_err());
    }
    for (count, error) in [
        (0, DecodeError::Invalid("number of build records")),
        (9, DecodeError::Invalid("number of build records")),
        (2, DecodeError::Trailing),
        (4, DecodeError::Truncated),
    ] {
        body[0] = count;
        assert_eq!(counted_records::<SHORT_RECORD_LEN>(&mut body).unwrap_err(), error);
    }
    body[0] = 3;
    body.push(0);
    assert!(counted_records::<SHORT_RECORD_LEN>(&mut body).is_err());
}

#[test]
fn replies_keep_the_code_where_the_spec_puts_it() {
    let mut short = [9; SHORT_REPLY_LEN];
    write_reply(&mut short, REJECT);
    assert_eq!((short[0], short[1], short[201]), (0, 0, 30));
    assert_eq!(reply_code(&short), Some(30));
    let mut long = [9; LONG_REPLY_LEN];
    write_reply(&mut long, ACCEPT);
    assert_eq!((long[0], long[1], long[511]), (0, 0, 0));
}
