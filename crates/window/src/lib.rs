//! martlet-window
