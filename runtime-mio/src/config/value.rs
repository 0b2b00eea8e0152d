//! Typed values out of a TOML tree; what is wrong is collected with its line.
#![expect(clippy::wildcard_enum_match_arm, reason = "of TOML's kinds of values one is right")]

use super::{ConfigError, ConfigErrors};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// More errors than this are not listed: they are one mistake made often.
const MAX_ERRORS: usize = 20;

/// The text under examination and what was found wrong with it so far.
pub(super) struct Document<'a> {
    text: &'a str,
    file: &'a Path,
    errors: Vec<ConfigError>,
}

/// One table. Keys that nobody asked for are errors at [`Self::finish`].
pub(super) struct Section<'t> {
    /// Dotted, empty for the root.
    name: &'static str,
    table: DeTable<'t>,
    asked: Vec<&'static str>,
    span: Range<usize>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str, file: &'a Path) -> Self {
        Self { text, file, errors: Vec::new() }
    }

    /// Notes that `key` is wrong.
    pub(super) fn refuse(&mut self, span: &Range<usize>, key: &str, problem: impl Display) {
        let colon = if key.is_empty() { "" } else { ": " };
        self.note(Some(span.start), format!("{key}{colon}{problem}"));
    }

    /// Notes what the TOML parser says.
    pub(super) fn syntax(&mut self, error: &toml::de::Error) {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        self.note(error.span().map(|s| s.start), message);
    }

    fn note(&mut self, offset: Option<usize>, problem: String) {
        let line =
            offset.map(|offset| 1 + self.text.bytes().take(offset).filter(|b| *b == b'\n').count());
        self.errors.push(ConfigError { file: self.file.into(), line, problem });
    }

    pub(super) fn finish<T>(mut self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        self.errors.sort_by_key(|e| e.line);
        self.errors.truncate(MAX_ERRORS);
        Err(ConfigErrors(self.errors))
    }
}

impl<'t> Section<'t> {
    pub(super) fn new(name: &'static str, table: Spanned<DeTable<'t>>) -> Self {
        let span = table.span();
        Self { name, table: table.into_inner(), asked: Vec::new(), span }
    }

    /// Where the section begins, for what is missing in it.
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// The full name of a key.
    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }

    /// A sub-table, empty when absent.
    pub(super) fn section(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
        name: &'static str,
    ) -> Section<'t> {
        let empty = Section::new(name, Spanned::new(0..0, DeTable::new()));
        let Some(value) = self.take(key) else { return empty };
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Section::new(name, Spanned::new(span, table)),
            other => {
                wrong_type(doc, &span, &self.key(key), &other, &format!("a section [{name}]"));
                empty
            }
        }
    }

    /// The tables of an array, `[[name]]`.
    pub(super) fn sections(
        &mut self,
        doc: &mut Document<'_>,
        name: &'static str,
    ) -> Vec<Section<'t>> {
        let Some(value) = self.take(name) else { return Vec::new() };
        let allowed = format!("sections [[{name}]], in double brackets, one for each");
        let span = value.span();
        let DeValue::Array(items) = value.get_ref() else {
            wrong_type(doc, &span, name, value.get_ref(), &allowed);
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Section::new(name, Spanned::new(item.span(), table.clone())));
                }
                other => wrong_type(doc, &item.span(), name, other, &allowed),
            }
        }
        sections
    }

    pub(super) fn bool(&mut self, doc: &mut Document<'_>, key: &'static str) -> Option<bool> {
        self.value(doc, key, "true or false", |v| match v {
            DeValue::Boolean(b) => Ok(*b),
            _ => Err(Refusal::Type),
        })
        .map(|(b, _)| b)
    }

    /// A number in `range`.
    pub(super) fn number(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.value(doc, key, &allowed, |v| {
            integer(v)?.filter(|n| range.contains(n)).ok_or(Refusal::Value)
        })
        .map(|(n, _)| n)
    }

    /// Per cent, as a number or as `"80 %"`.
    pub(super) fn per_cent(&mut self, doc: &mut Document<'_>, key: &'static str) -> Option<u8> {
        self.value(doc, key, "per cent from 0 to 100", |v| {
            let n = match v {
                DeValue::String(s) => s.strip_suffix('%').and_then(|n| n.trim().parse().ok()),
                other => integer(other)?,
            };
            n.and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 100).ok_or(Refusal::Value)
        })
        .map(|(n, _)| n)
    }

    /// Bytes per second, as a number or with a unit.
    pub(super) fn rate(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let allowed = format!(
            "bytes per second from {} to {}, or a text such as \"512 KiB\" or \"1.5 MB\"",
            range.start(),
            range.end()
        );
        self.bytes(doc, key, &allowed, &range, parse_rate)
    }

    /// Bytes, as a number or with a unit.
    pub(super) fn size(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let allowed = format!(
            "bytes from {} to {}, or a text such as \"256 MiB\" or \"1.5 GB\"",
            range.start(),
            range.end()
        );
        self.bytes(doc, key, &allowed, &range, parse_size)
    }

    /// A number within `range`, or a text that `parse` understands.
    fn bytes(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
        allowed: &str,
        range: &RangeInclusive<u64>,
        parse: fn(&str) -> Option<u64>,
    ) -> Option<u64> {
        self.value(doc, key, allowed, |v| {
            let n = match v {
                DeValue::String(s) => parse(s),
                other => integer(other)?,
            };
            n.filter(|n| range.contains(n)).ok_or(Refusal::Value)
        })
        .map(|(n, _)| n)
    }

    /// A text that `parse` understands, with its place for later checks.
    pub(super) fn text<T>(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<(T, Range<usize>)> {
        self.value(doc, key, allowed, |v| match v {
            DeValue::String(s) => parse(s).ok_or(Refusal::Value),
            _ => Err(Refusal::Type),
        })
    }

    /// As [`Self::text`], of a key that must be there.
    pub(super) fn required_text<T>(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<(T, Range<usize>)> {
        if !self.table.keys().any(|k| k.get_ref() == key) {
            doc.refuse(&self.span, &self.key(key), format_args!("missing; allowed: {allowed}"));
        }
        self.text(doc, key, allowed, parse)
    }

    /// An IP address.
    pub(super) fn ip(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
    ) -> Option<(IpAddr, Range<usize>)> {
        let allowed = "an IPv4 or IPv6 address, such as \"203.0.113.5\"";
        self.text(doc, key, allowed, |s| s.parse::<IpAddr>().ok())
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, doc: &mut Document<'_>, key: &'static str) -> Vec<String> {
        self.value(doc, key, "a list of texts, such as [\"a\", \"b\"]", |v| {
            let DeValue::Array(items) = v else { return Err(Refusal::Type) };
            items
                .iter()
                .map(|item| item.get_ref().as_str().filter(|s| !s.is_empty()).map(String::from))
                .collect::<Option<Vec<_>>>()
                .ok_or(Refusal::Value)
        })
        .map_or_else(Vec::new, |(texts, _)| texts)
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self, doc: &mut Document<'_>) {
        for key in self.table.keys() {
            let name = self.key(key.get_ref());
            let allowed = self.asked.join(", ");
            doc.refuse(&key.span(), &name, format_args!("unknown key; allowed: {allowed}"));
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.asked.push(key);
        // The lookup by text needs a borrowed form of `Spanned` that does not exist.
        let found = self.table.keys().find(|k| k.get_ref() == key)?.clone();
        self.table.remove(&found)
    }

    fn value<T>(
        &mut self,
        doc: &mut Document<'_>,
        key: &'static str,
        allowed: &str,
        convert: impl FnOnce(&DeValue<'t>) -> Result<T, Refusal>,
    ) -> Option<(T, Range<usize>)> {
        let value = self.take(key)?;
        let span = value.span();
        match convert(value.get_ref()) {
            Ok(v) => Some((v, span)),
            Err(Refusal::Type) => {
                wrong_type(doc, &span, &self.key(key), value.get_ref(), allowed);
                None
            }
            Err(Refusal::Value) => {
                let text = doc.text.get(span.clone()).unwrap_or_default();
                let shown = shorten(text.lines().next().unwrap_or_default());
                doc.refuse(
                    &span,
                    &self.key(key),
                    format_args!("{shown}: not allowed; allowed: {allowed}"),
                );
                None
            }
        }
    }
}

/// Why a value was not taken.
enum Refusal {
    Type,
    Value,
}

fn wrong_type(
    doc: &mut Document<'_>,
    span: &Range<usize>,
    key: &str,
    value: &DeValue<'_>,
    allowed: &str,
) {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    doc.refuse(span, key, format_args!("found {article} {kind}; allowed: {allowed}"));
}

/// A non-negative integer; `None` when it is one out of all ranges.
fn integer(value: &DeValue<'_>) -> Result<Option<u64>, Refusal> {
    let n = value.as_integer().ok_or(Refusal::Type)?;
    Ok(u64::from_str_radix(n.as_str(), n.radix()).ok())
}

/// The first part of what the user wrote.
pub(super) fn shorten(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX {
        return text.into();
    }
    text.chars().take(MAX).chain("..".chars()).collect()
}

/// An address with a port; `localhost` is understood as 127.0.0.1 without asking anybody.
pub(crate) fn parse_addr(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return port.parse().ok().map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    text.parse().ok()
}

/// `512 KiB`, `1.5 MB`, `1MiB/s`, `4096`.
fn parse_rate(text: &str) -> Option<u64> {
    let text = text.trim();
    parse_size(text.strip_suffix("/s").unwrap_or(text))
}

/// As [`parse_rate`], of a number of bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KB" | "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Six digits keep the products far from overflow, and nobody needs more.
    if whole.is_empty() || fraction.is_empty() || whole.len() > 12 || fraction.len() > 6 {
        return None;
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(unit)? / scale;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_decimal_and_binary_units() {
        for (text, want) in [
            ("4096", Some(4096)),
            ("1 MiB", Some(1 << 20)),
            ("1MiB/s", Some(1 << 20)),
            ("1.5 MB", Some(1_500_000)),
            ("0.5 KiB /s", Some(512)),
            (" 2 GiB ", Some(2 << 30)),
            ("20 kB", Some(20_000)),
            ("", None),
            ("MiB", None),
            ("1.", None),
            (".5", None),
            ("1.2.3 MB", None),
            ("-1", None),
            ("1 Mbit", None),
            ("1 mb", None),
            ("999999999999 GiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_rate(text), want, "{text:?}");
        }
        assert_eq!(parse_size(" 1.5 MiB "), Some(3 << 19));
        assert_eq!(parse_size("1 MiB/s"), None);
    }

    #[test]
    fn localhost_is_an_address() {
        assert_eq!(parse_addr("localhost:80"), parse_addr("127.0.0.1:80"));
        assert_eq!(parse_addr("[::1]:80").unwrap().port(), 80);
        for bad in
            ["localhost", "localhost:", "127.0.0.1", ":80", "example.org:80", "1.2.3.4:65536"]
        {
            assert_eq!(parse_addr(bad), None, "{bad}");
        }
    }
}
