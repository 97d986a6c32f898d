//! martlet-collector
