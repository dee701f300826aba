//! The views, as JSON.

mod memory;
mod page;
mod runs;
mod tables;
mod vmemmap;
mod walk;

pub use memory::{BlockView, DeviceRange, DeviceView, MemoryView};
pub use page::{PageField, PageView, RunOf};
pub use runs::Run;
pub use tables::{Entries, TableNode, TablesView};
pub use vmemmap::{Backing, MemmapRange, VmemmapView};
pub use walk::{AddressKind, Outcome, WalkStep, WalkView};

use crate::error::ViewError;
use crate::machine::{Machine, Target};

impl Machine<'_> {
    /// The view `name` as JSON; `of` is what `walk` and `page` need.
    ///
    /// # Errors
    /// `ViewError::Name`; `ViewError::Target` when `of` is missing or wrong; those of the view.
    pub fn view(&self, name: &str, of: Option<&str>) -> Result<serde_json::Value, ViewError> {
        let target = || of.unwrap_or_default().parse::<Target>();
        let json = match name {
            "memory" => serde_json::to_value(self.memory()),
            "vmemmap" => serde_json::to_value(self.vmemmap()),
            "walk" => serde_json::to_value(self.walk(target()?)?),
            "tables" => serde_json::to_value(self.table_tree()),
            "page" => serde_json::to_value(self.page(target()?)?),
            _ => return Err(ViewError::Name(name.to_owned())),
        };
        // The views have string keys and no number that JSON does not have.
        Ok(json.unwrap_or_default())
    }
}

/// The JSON Schema (draft 2020-12) of each view, by the view's name.
#[cfg(feature = "schema")]
pub fn schema() -> serde_json::Value {
    fn of<T: schemars::JsonSchema>() -> schemars::Schema {
        schemars::generate::SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<T>()
    }
    serde_json::json!({
        "memory": of::<MemoryView>(),
        "vmemmap": of::<VmemmapView>(),
        "walk": of::<WalkView>(),
        "tables": of::<TablesView>(),
        "page": of::<PageView>(),
    })
}
