use super::*;
use crate::time::UnixTime;
use crate::wire::i2np::MessageType;

fn cut_everywhere<T: core::fmt::Debug + PartialEq>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Result<T, DecodeError>,
) {
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut]), Err(DecodeError::Truncated));
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(decode(&longer), Err(DecodeError::Trailing));
}

#[test]
fn options_stand_where_the_layout_says() {
    let request = RequestOptions {
        net_id: 99,
        version: 2,
        padding: 0x0102,
        confirmed: 0x0304,
        timestamp: 0x0506_0708,
    };
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    assert_eq!(bytes, [99, 2, 1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0]);
    assert_eq!(RequestOptions::decode(&bytes), Ok(request));
    cut_everywhere(&bytes, RequestOptions::decode);

    let created = CreatedOptions { padding: 0x0102, timestamp: 0x0506_0708 };
    let mut bytes = Vec::new();
    created.encode(&mut bytes);
    assert_eq!(bytes, [0, 0, 1, 2, 0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0]);
    assert_eq!(CreatedOptions::decode(&bytes), Ok(created));
    cut_everywhere(&bytes, CreatedOptions::decode);
}

fn message() -> Message {
    Message {
        kind: MessageType::DATA,
        id: 7,
        expires: UnixTime::from_secs(9),
        body: b"body".to_vec(),
    }
}

fn frame() -> Vec<u8> {
    let mut out = Vec::new();
    put_date_time(&mut out, 5);
    put_router_info(&mut out, true, b"info").unwrap();
    out.extend_from_slice(&[1, 0, 13, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    put_message(&mut out, &message()).unwrap();
    out.extend_from_slice(&[77, 0, 2, 1, 1]);
    put_termination(&mut out, 12, Reason::Shutdown);
    put_padding(&mut out, 6);
    out
}

#[test]
fn blocks_round_trip_and_unknown_ones_are_named() {
    let frame = frame();
    let blocks: Result<Vec<Block<'_>>, _> = Blocks::new(&frame).collect();
    let options = PaddingOptions { send_min: 1, send_max: 2, receive_min: 3, receive_max: 4 };
    let mut short = Vec::new();
    message().encode_short(&mut short);
    assert_eq!(
        blocks.unwrap(),
        [
            Block::DateTime(5),
            Block::RouterInfo { flood: true, bytes: b"info" },
            Block::Options(options),
            Block::Message(&short),
            Block::Unknown(77),
            Block::Termination { frames: 12, reason: Reason::Shutdown },
            Block::Padding(6),
        ]
    );
}

#[test]
fn every_cut_gives_whole_blocks_and_then_an_error_or_the_end() {
    let frame = frame();
    let all: Vec<_> = Blocks::new(&frame).map(Result::unwrap).collect();
    for cut in 0..frame.len() {
        let got: Vec<_> = Blocks::new(&frame[..cut]).collect();
        let good: Vec<_> = got.iter().copied().map_while(Result::ok).collect();
        assert_eq!(good, all[..good.len()]);
        assert!(got.len() - good.len() <= 1, "only the last may be an error");
    }
}

#[test]
fn nothing_follows_padding_and_only_padding_follows_termination() {
    let mut after_padding = Vec::new();
    put_padding(&mut after_padding, 0);
    put_date_time(&mut after_padding, 1);
    let got: Vec<_> = Blocks::new(&after_padding).collect();
    assert_eq!(got, [Err(DecodeError::Trailing)]);

    let mut after_termination = Vec::new();
    put_termination(&mut after_termination, 0, Reason::Normal);
    put_date_time(&mut after_termination, 1);
    let got: Vec<_> = Blocks::new(&after_termination).collect();
    assert_eq!(got.len(), 2);
    assert!(got[1].is_err());
}

#[test]
fn blocks_with_a_fixed_layout_refuse_other_lengths() {
    for bad in [
        &[0, 0, 3, 0, 0, 0][..],
        &[0, 0, 5, 0, 0, 0, 0, 0],
        &[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0],
        &[4, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert!(Blocks::new(bad).next().unwrap().is_err(), "{bad:?}");
    }
}

#[test]
fn reasons_keep_their_codes() {
    for code in 0..=u8::MAX {
        assert_eq!(Reason::from_code(code).code(), code);
    }
    assert_eq!(Reason::from_code(17), Reason::Banned);
    assert_eq!(Reason::from_code(18), Reason::Other(18));
}

#[test]
fn what_does_not_fit_a_block_is_refused() {
    let mut out = Vec::new();
    let big = Message { body: alloc::vec![0; MAX_PAYLOAD_LEN - 3 - 9], ..message() };
    assert_eq!(put_message(&mut out, &big), Ok(()));
    assert_eq!(out.len(), MAX_PAYLOAD_LEN);
    let bigger = Message { body: alloc::vec![0; MAX_PAYLOAD_LEN - 3 - 8], ..message() };
    assert!(put_message(&mut out, &bigger).is_err());
    assert_eq!(out.len(), MAX_PAYLOAD_LEN);
}
