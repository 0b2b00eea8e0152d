//! NTCP2: Noise XK over TCP (specification `ntcp2`).
