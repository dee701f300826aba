//! Failing allocations on purpose: every place that can run out of something asks here first.

/// Which allocations fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// None.
    #[default]
    Off,
    /// The n-th from now on, counted from 1.
    Nth(u64),
    /// The n-th and all later ones.
    From(u64),
}

/// The plan, and what has become of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    plan: Plan,
    sites: u64,
    fired: bool,
}

impl Faults {
    /// Starts counting from zero with a new plan.
    pub fn arm(&mut self, plan: Plan) {
        *self = Self { plan, sites: 0, fired: false };
    }
    /// Counts an allocation; whether it must fail.
    pub fn hit(&mut self) -> bool {
        self.sites += 1;
        let fail = match self.plan {
            Plan::Off => false,
            Plan::Nth(n) => self.sites == n,
            Plan::From(n) => self.sites >= n,
        };
        self.fired |= fail;
        fail
    }
    /// How many allocations were asked for since the plan was armed.
    pub const fn sites(&self) -> u64 {
        self.sites
    }
    /// Whether one was made to fail.
    pub const fn fired(&self) -> bool {
        self.fired
    }
}
