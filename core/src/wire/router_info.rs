//! RouterInfo and router addresses.
