//! `inject`: one whole operation in which an allocation fails. It waits for the next one, whoever starts it, says what became
//! of it, and is gone.

use hotmap_mm::debug::faults::{Faults, Plan};
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;

use crate::kprintln;

/// What waits for the next whole operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Injection {
    plan: Plan,
}

impl Injection {
    /// Nothing waits.
    pub const fn new() -> Self {
        Self { plan: Plan::Off }
    }
    /// What waits.
    pub const fn plan(&self) -> Plan {
        self.plan
    }
    /// Let `plan` wait for the next whole operation.
    pub const fn arm(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// Do a whole operation, with what waits for it, and say whether it fired.
    pub fn around<M: Machine, R>(&mut self, mm: &mut Mm<M>, operation: impl FnOnce(&mut Mm<M>) -> R) -> R {
        self.begin(mm.faults_mut());
        let result = operation(mm);
        self.end(mm.faults_mut());
        result
    }

    /// The first half of [`Self::around`], for an operation that needs more than the model.
    pub fn begin(&self, faults: &mut Faults) {
        if self.plan != Plan::Off {
            faults.arm(self.plan);
        }
    }

    /// The second half.
    pub fn end(&mut self, faults: &mut Faults) {
        let first = match core::mem::take(&mut self.plan) {
            Plan::Off => return,
            Plan::Nth(n) | Plan::From(n) => n,
        };
        let (fired, sites) = (faults.fired(), faults.sites());
        faults.arm(Plan::Off);
        if fired {
            kprintln!("inject: fired at {first} of {sites} sites");
        } else {
            kprintln!("inject: did not fire ({sites} sites)");
        }
    }
}
