//! The host side of HRM.

pub mod golden;
pub mod row_metrics;
