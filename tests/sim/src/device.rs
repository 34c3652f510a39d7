//! Fence devices: each controls one outlet of one machine. A machine has power while one of its outlets of the first level
//! has, or until a device acts that cuts all of them: one that races with the outlets, or that of the second level.

use crate::schedule::DeviceMode;

/// The devices of one machine.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    /// How each of them behaves, in the order of the configuration; missing means well.
    modes: Vec<Option<DeviceMode>>,
    /// Outlets that are off, by device.
    off: Vec<u8>,
}

impl Devices {
    /// How device number `device` behaves; `None` is as it should.
    #[must_use]
    pub fn mode(&self, device: u8) -> Option<DeviceMode> {
        self.modes.get(usize::from(device)).copied().flatten()
    }

    /// Device number `device` behaves like this from now on.
    pub fn set_mode(&mut self, device: u8, mode: DeviceMode) {
        let index = usize::from(device);
        if self.modes.len() <= index {
            self.modes.resize(index + 1, None);
        }
        self.modes[index] = Some(mode);
    }

    /// All of them work.
    pub fn mend(&mut self) {
        self.modes.clear();
    }

    /// The outlet of `device` goes off.
    pub fn turn_off(&mut self, device: u8) {
        if !self.off.contains(&device) {
            self.off.push(device);
        }
    }

    /// The outlet of `device` goes on.
    pub fn turn_on(&mut self, device: u8) {
        self.off.retain(|other| *other != device);
    }

    /// True when the outlet of `device` is off.
    #[must_use]
    pub fn is_off(&self, device: u8) -> bool {
        self.off.contains(&device)
    }

    /// All outlets get power.
    pub fn turn_all_on(&mut self) {
        self.off.clear();
    }

    /// How many of the first `outlets` devices are off.
    #[must_use]
    pub fn off_among(&self, outlets: u8) -> u8 {
        (0..outlets).filter(|device| self.is_off(*device)).count() as u8
    }
}
