//! martlet-sensor
