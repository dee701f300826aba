//! The steps of an operation that are done so far, each with its inverse. An operation that fails runs the inverses, the last
//! step's first, and leaves the machine as it was.

use crate::error::Result;
use crate::hotplug::step::Step;
use crate::machine::Machine;
use crate::mm::Mm;

/// The inverse of a step, for what the operation is about.
pub(crate) type Inverse<M, T> = fn(&mut Mm<M>, &T);

/// The inverses to run unless the operation is complete.
pub(crate) struct Undo<'a, M: Machine, T> {
    mm: &'a mut Mm<M>,
    subject: T,
    inverses: [Option<(Step, Inverse<M, T>)>; Step::ALL.len()],
    done: usize,
    progress: &'a mut dyn FnMut(&Mm<M>, Step),
}

impl<'a, M: Machine, T> Undo<'a, M, T> {
    /// Nothing is done yet to `subject`. `progress` is called after each step.
    pub(crate) fn new(mm: &'a mut Mm<M>, subject: T, progress: &'a mut dyn FnMut(&Mm<M>, Step)) -> Self {
        Self { mm, subject, inverses: [None; Step::ALL.len()], done: 0, progress }
    }

    /// Does a step; registers its inverse.
    ///
    /// # Errors
    /// The step's, which has undone its own part. The caller returns it; dropping `self` then runs the inverses.
    pub(crate) fn step(
        &mut self,
        step: Step,
        act: impl FnOnce(&mut Mm<M>, &T) -> Result<()>,
        inverse: Inverse<M, T>,
    ) -> Result<()> {
        act(self.mm, &self.subject)?;
        self.inverses[self.done] = Some((step, inverse));
        self.done += 1;
        step.done(self.mm.space.machine());
        (self.progress)(self.mm, step);
        Ok(())
    }

    /// The operation is complete: nothing is undone.
    pub(crate) fn commit(mut self) {
        self.done = 0;
    }
}

impl<M: Machine, T> Drop for Undo<'_, M, T> {
    fn drop(&mut self) {
        for (step, inverse) in self.inverses[..self.done].iter().rev().flatten() {
            inverse(self.mm, &self.subject);
            step.undone(self.mm.space.machine());
        }
    }
}
