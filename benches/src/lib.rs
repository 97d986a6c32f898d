//! martlet-benches
