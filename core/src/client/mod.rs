//! Client protocols: HTTP proxy, client and server tunnels, address book, control.
