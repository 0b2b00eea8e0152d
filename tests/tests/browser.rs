//! What a person sees who points a browser at the HTTP proxy.

use ramson_tests::browser::{PROGRAM, WINDOW, view};
use ramson_tests::needs::{missing_programs, say, skipped};
use ramson_tests::png::{Colour, Picture};
use ramson_tests::testnet::Testnet;
use std::path::Path;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
/// Screenshots stay here.
const ARTIFACTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/screenshots");

/// Colours of the example site, as its style sheet has them.
const PAPER: Colour = [0xf7, 0xf5, 0xee];
const INK: Colour = [0x1d, 0x2a, 0x21];
const LEAF: Colour = [0x4c, 0x7a, 0x34];
const WHITE: Colour = [0xff; 3];

#[test]
fn the_example_site_and_the_page_for_an_unknown_name_are_seen_in_a_browser() {
    if skipped("the test with a browser", &missing_programs(&[PROGRAM])) {
        return;
    }
    let folder = Path::new(ARTIFACTS);
    std::fs::create_dir_all(folder).unwrap();
    // It ends by itself if nobody is left to end it.
    let mut testnet = Testnet::start(EXE, &["--for", "3m"]);
    testnet.wait("open");

    let site = view("http://example.i2p/", testnet.proxy, &folder.join("example.png"));
    for text in ["<title>example.i2p</title>", "It works.", ".b32.i2p</code>", "6 Ramson routers"] {
        assert!(site.dom.contains(text), "{text}: {}", site.dom);
    }
    let unknown = view("http://nobody.i2p/", testnet.proxy, &folder.join("unknown-name.png"));
    for text in ["<title>Name not in the address book</title>", "nobody.i2p", "What to do:"] {
        assert!(unknown.dom.contains(text), "{text}: {}", unknown.dom);
    }
    say(&format!("screenshots are in {ARTIFACTS}"));

    for picture in [&site.picture, &unknown.picture] {
        assert_eq!((picture.width, picture.height), WINDOW);
    }
    assert_mostly(&site.picture, PAPER);
    assert_mostly(&unknown.picture, WHITE);
    // Its style is there, and its letters are, in the colours that they should have.
    let colours = site.picture.colours();
    for colour in [INK, LEAF] {
        let count = colours.get(&colour).copied().unwrap_or(0);
        assert!(count > 500, "{count} pixels are {colour:?}: {colours:?}");
    }
    assert!(site.picture != unknown.picture);
}

/// A page: most is background, of this colour, and some is not.
fn assert_mostly(picture: &Picture, background: Colour) {
    let all = picture.pixels.len();
    let blank = picture.colours().get(&background).copied().unwrap_or(0);
    assert!(blank > all / 2, "{blank} of {all} pixels are {background:?}");
    assert!(blank < all - all / 100, "{blank} of {all} pixels are {background:?}: blank");
}
