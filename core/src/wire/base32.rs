//! Base32 as in host names: RFC 4648, lower case, without padding.
