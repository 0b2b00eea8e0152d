//! Cells, their instructions, and build records.

use super::input::Input;
use ramson_core::wire::codec::Reader;
use ramson_core::wire::tunnel::{
    ACCEPT, CELL_LEN, Fragments, ID_LEN, IV_LEN, Instructions, LONG_RECORD_LEN, LongRequest,
    MAX_FRAGMENT_NUMBER, MAX_PAYLOAD_LEN, MAX_RECORDS, Request, SHORT_RECORD_LEN, SHORT_REPLY_LEN,
    counted_records, gateway_body, open_payload, payload_checksum, reply_code, tunnel_id,
    write_reply,
};

/// The instructions and fragments of a payload.
pub fn delivery_instructions(data: &[u8]) {
    let mut seen = 0;
    for fragment in Fragments::new(data) {
        let Ok((instructions, bytes)) = fragment else { break };
        let mut out = Vec::new();
        instructions.encode(bytes.len() as u16, &mut out);
        assert_eq!(out.len(), instructions.encoded_len());
        let again = Instructions::decode(&mut Reader::new(&out));
        assert_eq!(again, Ok((instructions, bytes.len() as u16)));
        if let Instructions::FollowOn { number, .. } = instructions {
            assert!((1..=MAX_FRAGMENT_NUMBER).contains(&number));
        }
        seen += out.len() + bytes.len();
        assert!(seen <= data.len());
    }
}

/// The input as a decrypted cell, and as the payload of a valid one.
pub fn tunnel_message(data: &[u8]) {
    let _ = tunnel_id(data);
    if let Ok(payload) = open_payload(data) {
        assert_eq!(data.len(), CELL_LEN);
        assert!(payload.len() <= MAX_PAYLOAD_LEN && data.ends_with(payload));
        delivery_instructions(payload);
    }
    let mut input = Input::new(data);
    let iv: [u8; IV_LEN] = input.array();
    let payload = input.bytes(MAX_PAYLOAD_LEN);
    let mut cell = vec![0; ID_LEN];
    cell.extend(iv);
    cell.extend(payload_checksum(payload, &iv));
    cell.resize(CELL_LEN - payload.len() - 1, 1);
    cell.push(0);
    cell.extend(payload);
    assert_eq!(open_payload(&cell), Ok(payload));
    // Any other checksum is refused.
    cell[ID_LEN + IV_LEN] ^= 1;
    assert!(open_payload(&cell).is_err());
    let body = gateway_body(7, payload).unwrap();
    assert_eq!(tunnel_id(&body), Ok(7));
}

/// The cleartext of short records, and the records of a message.
pub fn short_build_record(data: &[u8]) {
    if let Ok(request) = Request::decode_short(data) {
        assert!(request.receive_tunnel != 0 && request.next_tunnel != 0);
        assert_eq!(Request::decode_short(&request.encode_short()), Ok(request));
    }
    records::<SHORT_RECORD_LEN>(data);
    let mut reply = data.to_vec();
    reply.resize(SHORT_REPLY_LEN, 0);
    write_reply(&mut reply, ACCEPT);
    assert_eq!(reply_code(&reply), Some(ACCEPT));
}

/// The cleartext of long records, and the records of a message.
pub fn long_build_record(data: &[u8]) {
    if let Ok(request) = LongRequest::decode(data) {
        let bytes = request.encode();
        let again = LongRequest::decode(&bytes).map_err(|_| ()).unwrap();
        assert_eq!(again.request, request.request);
        assert_eq!(again.encode(), bytes);
    }
    records::<LONG_RECORD_LEN>(data);
}

fn records<const N: usize>(data: &[u8]) {
    let mut body = data.to_vec();
    if let Ok(records) = counted_records::<N>(&mut body) {
        let count = usize::from(data[0]);
        assert!((1..=MAX_RECORDS).contains(&count));
        assert_eq!((records.len(), data.len()), (count, 1 + count * N));
    }
}
