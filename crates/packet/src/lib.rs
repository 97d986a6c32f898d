//! martlet-packet
