//! What can end an operation that takes long.

/// Asked between two steps of such an operation, with how much of it is done: whether it is to stop. It leaves the model as
/// it was then, or as the operation's documentation says.
pub type Stop<'a> = &'a mut dyn FnMut(u64) -> bool;
