//! Destinations: lease sets and the routes between two of them.
