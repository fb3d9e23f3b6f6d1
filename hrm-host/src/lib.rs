//! The host side of HRM.
