//! A bounded zip reader for reseed bundles.
