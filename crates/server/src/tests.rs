//! Through a real connection.
