//! Base64 with the I2P alphabet.
