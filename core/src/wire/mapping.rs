//! Mappings: sorted key-value strings.
