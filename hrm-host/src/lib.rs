//! The host side of HRM.

pub mod data;
