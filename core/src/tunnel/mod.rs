//! Tunnels: building, carrying, testing and replacing them, and taking part in those of others.
