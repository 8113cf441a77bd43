//! Postrider.
