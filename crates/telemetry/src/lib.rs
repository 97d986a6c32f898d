//! martlet-telemetry
