//! `inject`: an allocation of the next operation fails. The plan applies to the next whole operation, of a command or of a
//! DIMM; after it, one line reports whether it fired, and nothing is armed.

use hotmap_mm::debug::faults::{Faults, Plan};
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;

use crate::kprintln;

/// The plan for the next whole operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Injection {
    plan: Plan,
}

impl Injection {
    /// Nothing is armed.
    pub const fn new() -> Self {
        Self { plan: Plan::Off }
    }
    /// The plan that is armed.
    pub const fn plan(&self) -> Plan {
        self.plan
    }
    /// Arms `plan` for the next whole operation.
    pub const fn arm(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// Runs a whole operation with the plan that is armed, and reports whether it fired.
    pub fn around<M: Machine, R>(&mut self, mm: &mut Mm<M>, operation: impl FnOnce(&mut Mm<M>) -> R) -> R {
        self.begin(&mut mm.frames_mut().faults);
        let result = operation(mm);
        self.end(&mut mm.frames_mut().faults);
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
            kprintln!(
                "inject: fired at {first} of {sites} sites (the failure is injected, whatever the error names)"
            );
        } else {
            kprintln!("inject: did not fire ({sites} sites)");
        }
    }
}
