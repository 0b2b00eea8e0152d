//! Address helpers: links that carry the destination of the name they point to.
//!
//! A helper is never applied by itself. A page shows the name and the destination, and only its
//! form, with a token that nobody else can make, adds the name to the address book. A name that is
//! known with another destination is shown as the conflict it is and stays as it was.

use super::route::CONFIRM_PATH;
use crate::client::address_book::{PROXY_NAME, check_name};
use crate::client::pages::{Problem, escape, escape_whole, page};
use crate::client::target::{Target, host_header};
use crate::crypto::Key32;
use crate::crypto::kdf::hmac_sha256;
use crate::time::Instant;
use crate::wire::base32::{self, B32};
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use subtle::ConstantTimeEq;

const PARAMETER: &str = "i2paddresshelper";

/// A token is valid in the window in which it was made and in the next one.
const TOKEN_WINDOW: u64 = 3600 * 1_000_000;

/// An address helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Helper {
    pub(super) name: Box<str>,
    pub(super) address: Address,
    /// Where the link went, without the helper.
    path: String,
    port: u16,
}

/// What a helper says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Destination(Identity),
    Hash(Hash),
}

impl Address {
    pub(super) fn hash(&self) -> Hash {
        match self {
            Self::Destination(identity) => identity.hash(),
            Self::Hash(hash) => *hash,
        }
    }
}

/// A confirmed form whose token is valid.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub(super) name: Box<str>,
    pub(super) destination: Identity,
    /// Where to go on.
    pub(super) location: String,
}

/// Takes the helper out of the query of `path`, which is in origin form.
pub(super) fn extract(
    path: &str,
    target: &Target,
    port: u16,
) -> Result<(String, Option<Helper>), Problem> {
    let Some((before, query)) = path.split_once('?') else {
        return Ok((path.into(), None));
    };
    let is_helper = |item: &&str| item.split_once('=').map_or(*item, |(key, _)| key) == PARAMETER;
    let mut found = query.split('&').filter(is_helper);
    let Some(item) = found.next() else { return Ok((path.into(), None)) };
    if found.next().is_some() {
        return Err(Problem::BadHelper("it is given twice"));
    }
    let value = item.split_once('=').map_or("", |(_, value)| value);
    let value = percent_decode(value, false).ok_or(Problem::BadHelper("it is not text"))?;
    let address = match base32::parse_host(&value) {
        Some(B32::Destination(hash)) => Address::Hash(hash),
        Some(B32::Blinded(_)) => return Err(Problem::Blinded),
        None => Identity::from_base64(&value)
            .map(Address::Destination)
            .map_err(|_| Problem::BadHelper("it is neither base64 nor a .b32.i2p address"))?,
    };
    let mut path = String::from(before);
    let mut separator = '?';
    for other in query.split('&').filter(|item| !is_helper(item)) {
        path.push(separator);
        path.push_str(other);
        separator = '&';
    }
    let own = match target {
        Target::Name(name) => {
            let helper = Helper { name: name.clone(), address, path: path.clone(), port };
            return Ok((path, Some(helper)));
        }
        Target::Destination(identity) => identity.hash(),
        Target::Hash(hash) => *hash,
    };
    if own == address.hash() {
        Ok((path, None))
    } else {
        Err(Problem::BadHelper("it contradicts the address that it is attached to"))
    }
}

/// The page that asks whether to add a name that is not known yet.
pub(super) fn confirm_page(key: &Key32, now: Instant, helper: &Helper, head_only: bool) -> Vec<u8> {
    let by_hash = direct_link(helper, helper.address.hash());
    let name = escape(&helper.name);
    let b32 = base32::host(&helper.address.hash());
    let mut content = format!(
        "<p>The link that you followed says that <code>{name}</code> has the address \
         <code>{b32}</code>. This name is not in your address book. Whoever made the link could \
         have put any address there.</p>\n"
    );
    if let Address::Destination(destination) = &helper.address {
        let token = token(key, window(now), &helper.name, &destination.hash());
        content.push_str(&format!(
            "<form method=\"post\" action=\"http://{PROXY_NAME}{CONFIRM_PATH}\">\
             <input type=\"hidden\" name=\"name\" value=\"{}\">\
             <input type=\"hidden\" name=\"destination\" value=\"{}\">\
             <input type=\"hidden\" name=\"port\" value=\"{}\">\
             <input type=\"hidden\" name=\"path\" value=\"{}\">\
             <input type=\"hidden\" name=\"token\" value=\"{token}\">\
             <p><button type=\"submit\">Add {name} to the address book and open it</button></p>\
             </form>\n",
            escape_whole(&helper.name),
            escape_whole(&destination.to_base64()),
            helper.port,
            escape_whole(&helper.path),
        ));
    } else {
        content.push_str(
            "<p>The helper carries a short address only, so the name cannot be added.</p>\n",
        );
    }
    content
        .push_str(&format!("<p>Or <a href=\"{by_hash}\">open it by its address</a> once.</p>\n"));
    page(200, "New name", &content, head_only)
}

/// The page for a name that is known with another destination.
pub(super) fn conflict_page(helper: &Helper, known: &Identity, head_only: bool) -> Vec<u8> {
    let name = escape(&helper.name);
    let new = helper.address.hash();
    let content = format!(
        "<p>The link that you followed says that <code>{name}</code> has another address than your \
         address book. It may be out of date, or made to deceive you. The address book was not \
         changed.</p>\n\
         <p>Address book: <a href=\"{}\"><code>{}</code></a></p>\n\
         <p>Link: <a href=\"{}\"><code>{}</code></a></p>\n\
         <p><b>What to do:</b> Open the site by the address that you trust. To change the name, \
         edit <code>hosts.txt</code>.</p>\n",
        direct_link(helper, known.hash()),
        known.b32_address(),
        direct_link(helper, new),
        base32::host(&new),
    );
    page(409, "Two addresses for one name", &content, head_only)
}

/// Reads the form of [`confirm_page`]; `None` unless its token is ours, recent, and for just this
/// name and destination.
pub(super) fn confirmed(key: &Key32, now: Instant, form: &[u8]) -> Option<Confirmed> {
    let form = core::str::from_utf8(form).ok()?;
    let field = |wanted: &str| {
        let mut values = form.split('&').filter_map(|item| item.split_once('='));
        let value = values.find(|(key, _)| *key == wanted)?.1;
        percent_decode(value, true)
    };
    let name = field("name")?;
    check_name(&name).ok()?;
    let destination = Identity::from_base64(&field("destination")?).ok()?;
    let given = field("token")?;
    let this = window(now);
    let fits = |window| {
        let wanted = token(key, window, &name, &destination.hash());
        bool::from(wanted.as_bytes().ct_eq(given.as_bytes()))
    };
    if !fits(this) && !this.checked_sub(1).is_some_and(fits) {
        return None;
    }
    let port = field("port")?.parse::<u16>().ok().filter(|p| *p != 0)?;
    let path = field("path")?;
    // The path ends up in a Location header.
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let host = host_header(&Target::Name(name.clone().into()), port);
    Some(Confirmed { name: name.into(), destination, location: format!("http://{host}{path}") })
}

/// A link that goes on by address.
fn direct_link(helper: &Helper, hash: Hash) -> String {
    let host = host_header(&Target::Hash(hash), helper.port);
    escape_whole(&format!("http://{host}{}", helper.path))
}

const fn window(now: Instant) -> u64 {
    now.as_micros() / TOKEN_WINDOW
}

/// 128 bits that only we can make, bound to a name, a destination and a time.
fn token(key: &Key32, window: u64, name: &str, hash: &Hash) -> String {
    let mac = hmac_sha256(
        key.as_bytes(),
        &[b"address helper", &window.to_be_bytes(), hash.as_bytes(), name.as_bytes()],
    );
    let half = mac.first_chunk::<16>().copied().unwrap_or_default();
    data_encoding::HEXLOWER.encode(&half)
}

/// `None` for a broken escape or bytes that are not UTF-8.
fn percent_decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (high * 16 + low) as u8
            }
            b'+' if plus_is_blank => b' ',
            b => b,
        });
    }
    String::from_utf8(out).ok()
}
