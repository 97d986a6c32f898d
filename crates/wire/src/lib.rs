//! martlet-wire
