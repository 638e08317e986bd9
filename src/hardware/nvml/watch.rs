//! GPUs that are asked again and again, while something runs on them.

#[cfg(feature = "nvml")]
use super::driver;
use crate::hardware::inventory::{Inventory, Origin, Process};
use crate::units::Bytes;

/// The driver, kept at hand, and the GPUs it told of when it was first asked.
///
/// ```
/// use vramplan::hardware::nvml::Watch;
///
/// let watch = Watch::open();
/// // one reading for each device, none on a machine without a driver
/// assert_eq!(watch.read().len(), watch.inventory().devices.len());
/// ```
pub struct Watch {
    inventory: Inventory,
    #[cfg(feature = "nvml")]
    nvml: Option<nvml_wrapper::Nvml>,
}

/// What a GPU, or a slice of one, says at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Use {
    /// What all processes hold, in bytes; `None`: the driver does not say.
    pub used: Option<Bytes>,
    /// The processes that are on it; `None`: the driver does not say.
    pub processes: Option<Vec<Process>>,
    /// What could not be found out, and why.
    pub problem: Option<String>,
}

impl Watch {
    /// Loads the driver's library and lists the GPUs, as [`detect`](super::detect) does: never an error.
    pub fn open() -> Self {
        let mut inventory = Inventory::of(Origin::Nvml);
        #[cfg(feature = "nvml")]
        {
            let nvml = driver::open(&mut inventory);
            Self { inventory, nvml }
        }
        #[cfg(not(feature = "nvml"))]
        {
            inventory.problem = Some("this program was built without the feature nvml".to_owned());
            Self { inventory }
        }
    }

    /// The GPUs as they were at first.
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The GPUs as they were at first; the driver is let go of.
    pub fn into_inventory(self) -> Inventory {
        self.inventory
    }

    /// What each device of [`inventory`](Self::inventory) says now, in its order. A GPU that is cut into slices says
    /// nothing: its slices do.
    pub fn read(&self) -> Vec<Use> {
        #[cfg(feature = "nvml")]
        if let Some(nvml) = &self.nvml {
            return self.inventory.devices.iter().map(|device| driver::read(nvml, device)).collect();
        }
        self.inventory.devices.iter().map(|_| Use::default()).collect()
    }
}
