//! Objects through the real SDK.
