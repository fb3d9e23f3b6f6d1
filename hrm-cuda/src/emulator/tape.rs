//! Recorded sequences, and copies that arrive later: on the CPU a list of what was launched, and copies made at once.

use std::mem;

use super::Emulator;
use crate::error::Error;
use crate::launch::{Arg, Fetch, Gemm, Grid, Kernel, Launcher, Ptr, Queue, Recording};

/// What can be recorded.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Launch(Kernel, Grid, Vec<Arg>),
    Gemm(Gemm),
    Fill(Ptr, u8, usize),
}

/// What is done with calls.
#[derive(Debug, Default)]
enum State {
    /// They run.
    #[default]
    Running,
    /// They are noted.
    Recording(Vec<Call>),
    /// They are forgotten.
    Rehearsing,
}

/// What was recorded and fetched.
#[derive(Debug, Default)]
pub(super) struct Tape {
    state: State,
    recordings: Vec<Vec<Call>>,
    fetched: Vec<Option<Vec<u8>>>,
}

impl Tape {
    /// Asks that what moves data come at its time.
    pub fn running(&self, what: &str) -> Result<(), Error> {
        match self.state {
            State::Running | State::Rehearsing => Ok(()),
            State::Recording(_) => Err(Error::Device {
                action: what.into(),
                reason: "not possible while a sequence is recorded".into(),
            }),
        }
    }
}

impl Emulator {
    /// Does a call, or notes it.
    pub(super) fn tell(&mut self, call: Call) -> Result<(), Error> {
        match &mut self.tape.state {
            State::Running => self.run(&call),
            State::Recording(calls) => {
                calls.push(call);
                Ok(())
            }
            State::Rehearsing => Ok(()),
        }
    }
}

impl Queue for Emulator {
    fn rehearse(&mut self, on: bool) -> Result<(), Error> {
        self.tape.running("rehearsal")?;
        self.tape.state = if on { State::Rehearsing } else { State::Running };
        Ok(())
    }

    fn record(&mut self) -> Result<(), Error> {
        self.tape.running("recording")?;
        self.tape.state = State::Recording(Vec::new());
        Ok(())
    }

    fn finish(&mut self) -> Result<Recording, Error> {
        match mem::take(&mut self.tape.state) {
            State::Recording(calls) => {
                self.tape.recordings.push(calls);
                Ok(Recording(self.tape.recordings.len() - 1))
            }
            State::Running | State::Rehearsing => Err(Error::Device {
                action: "end of a recording".into(),
                reason: "nothing is being recorded".into(),
            }),
        }
    }

    fn replay(&mut self, recording: Recording) -> Result<(), Error> {
        self.tape.running("replay")?;
        let calls = self.tape.recordings.get(recording.0).cloned().ok_or_else(|| Error::Device {
            action: "replay".into(),
            reason: format!("there is no recording {} of this launcher", recording.0),
        })?;
        calls.iter().try_for_each(|call| self.run(call))
    }

    fn fetch(&mut self, ranges: &[(Ptr, usize)]) -> Result<Fetch, Error> {
        let mut bytes = vec![0; ranges.iter().map(|(_, len)| len).sum()];
        let mut rest = &mut bytes[..];
        for &(from, len) in ranges {
            let (to, behind) = rest.split_at_mut(len);
            self.download(from, to)?;
            rest = behind;
        }
        let fetch = Fetch { slot: self.tape.fetched.len(), bytes: bytes.len() };
        self.tape.fetched.push(Some(bytes));
        Ok(fetch)
    }

    fn arrived(&mut self, _: &Fetch) -> Result<bool, Error> {
        Ok(true)
    }

    fn collect(&mut self, fetch: Fetch) -> Result<Vec<u8>, Error> {
        let bytes = self.tape.fetched.get_mut(fetch.slot).and_then(Option::take);
        bytes.ok_or_else(|| {
            Error::Operand(format!("there is no fetch {} of this launcher under way", fetch.slot))
        })
    }
}
