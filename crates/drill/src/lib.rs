//! martlet-drill
