//! Models in and out: PyTorch's files, hostile ones, round trips, and the published program's models.

mod hostile;
mod layouts;
mod people;
mod pickles;
mod published;
mod pytorch;
mod round_trip;
mod support;
