//! JSON (RFC 8259), written by hand.

use alloc::string::String;
use core::fmt::Write;

/// A document in the making. Whoever writes it opens and closes in pairs.
#[derive(Debug, Default)]
pub(crate) struct Json {
    out: String,
    /// The next value needs a comma before it.
    comma: bool,
}

impl Json {
    /// `{"name": ` .. inside an object; nothing before a member of an array.
    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        self.separate();
        self.quoted(name);
        self.out.push(':');
        self.comma = false;
        self
    }

    pub(crate) fn object(&mut self, content: impl FnOnce(&mut Self)) {
        self.nested('{', '}', content);
    }

    pub(crate) fn array(&mut self, content: impl FnOnce(&mut Self)) {
        self.nested('[', ']', content);
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.separate();
        self.quoted(text);
        self.comma = true;
    }

    pub(crate) fn number(&mut self, n: u64) {
        self.raw(format_args!("{n}"));
    }

    pub(crate) fn boolean(&mut self, b: bool) {
        self.raw(format_args!("{b}"));
    }

    pub(crate) fn null(&mut self) {
        self.raw(format_args!("null"));
    }

    /// A string, or null.
    pub(crate) fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// `part / whole` with three decimals; null when there is no whole.
    pub(crate) fn ratio(&mut self, part: u64, whole: u64) {
        let thousandths = u128::from(part) * 1000 + u128::from(whole) / 2;
        match thousandths.checked_div(u128::from(whole)) {
            Some(n) => self.raw(format_args!("{}.{:03}", n / 1000, n % 1000)),
            None => self.null(),
        }
    }

    /// The document.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn nested(&mut self, open: char, close: char, content: impl FnOnce(&mut Self)) {
        self.separate();
        self.out.push(open);
        self.comma = false;
        content(self);
        self.out.push(close);
        self.comma = true;
    }

    fn raw(&mut self, value: core::fmt::Arguments<'_>) {
        self.separate();
        // Writing to a string does not fail.
        let _ = self.out.write_fmt(value);
        self.comma = true;
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(',');
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                // Those that end a line for some readers too.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    let _ = write!(self.out, "\\u{:04x}", u32::from(c));
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nests_and_separates() {
        let mut json = Json::default();
        json.object(|j| {
            j.key("a").number(1);
            j.key("b").array(|j| {
                j.string("x");
                j.object(|_| {});
                j.array(|_| {});
                j.boolean(true);
            });
            j.key("c").optional(None);
            j.key("d").optional(Some("y"));
            j.key("e").ratio(2, 3);
            j.key("f").ratio(5, 5);
            j.key("g").ratio(0, 0);
        });
        assert_eq!(
            json.finish(),
            r#"{"a":1,"b":["x",{},[],true],"c":null,"d":"y","e":0.667,"f":1.000,"g":null}"#
        );
    }

    #[test]
    fn hostile_strings_stay_strings() {
        let mut json = Json::default();
        json.string("\"\\\n\r\t\0\u{1b}\u{7f}\u{2028}</é\u{1f600}");
        assert_eq!(json.finish(), "\"\\\"\\\\\\n\\r\\t\\u0000\\u001b\\u007f\\u2028</é\u{1f600}\"");
    }
}
