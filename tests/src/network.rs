//! Network namespaces: a scanning host, and a sensor to which a dark prefix is routed. All traffic stays on one veth
//! pair.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use serde_json::Value;

use crate::daemon::run_ok;
use crate::program::run;

/// Address of the scanning host.
pub const SCANNER: &str = "198.19.0.2";
/// Address of the sensor.
pub const SENSOR: &str = "198.19.0.1";
/// The prefix that is routed to the sensor.
pub const DARK: &str = "198.18.0.0/24";

/// Two namespaces and the veth pair between them; gone with the value.
#[derive(Debug)]
pub struct Network {
    /// Namespace of the scanning host.
    pub scanner: String,
    /// Namespace of the sensor.
    pub sensor: String,
}

impl Network {
    /// Makes the namespaces.
    ///
    /// # Panics
    /// If this process may not, or the name is taken.
    #[must_use]
    pub fn make() -> Network {
        // Tests of one process run side by side.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let network = Network { scanner: format!("mt-scan-{id}"), sensor: format!("mt-sens-{id}") };
        let (scanner, sensor) = (network.scanner.as_str(), network.sensor.as_str());
        for namespace in [scanner, sensor] {
            run_ok("ip", &["netns", "add", namespace]);
            run_ok("ip", &["-n", namespace, "link", "set", "lo", "up"]);
        }
        network.plug();
        network
    }

    /// Makes the veth pair and its addresses.
    ///
    /// # Panics
    /// If it is there.
    pub fn plug(&self) {
        let (scanner, sensor) = (self.scanner.as_str(), self.sensor.as_str());
        let pair = ["link", "add", "scan0", "netns", scanner, "type", "veth", "peer", "name", "dark0", "netns", sensor];
        run_ok("ip", &pair);
        for (namespace, device, address) in [(scanner, "scan0", SCANNER), (sensor, "dark0", SENSOR)] {
            run_ok("ip", &["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", device]);
            run_ok("ip", &["-n", namespace, "link", "set", device, "up"]);
        }
        run_ok("ip", &["-n", scanner, "route", "add", DARK, "via", SENSOR]);
    }

    /// Takes the veth pair away.
    ///
    /// # Panics
    /// If there is none.
    pub fn unplug(&self) {
        run_ok("ip", &["-n", &self.sensor, "link", "del", "dark0"]);
    }

    /// A command inside a namespace.
    #[must_use]
    pub fn command(namespace: &str, name: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(name.as_ref());
        command
    }

    /// Runs a scanner to its end. hping3 says by its exit code that nobody answered, so codes tell nothing here: the
    /// packets do.
    ///
    /// # Panics
    /// If the scanner cannot be run.
    pub fn scan(&self, line: &str) {
        let mut words = line.split(' ');
        let mut command = Network::command(&self.scanner, words.next().unwrap());
        let outcome = run(command.args(words), b"");
        assert!(outcome.code.is_some(), "{line}: {}", outcome.stderr);
    }

    /// The Ethernet address of a device.
    ///
    /// # Panics
    /// If there is no such device.
    #[must_use]
    pub fn hardware_address(namespace: &str, device: &str) -> String {
        let links = run_ok("ip", &["-n", namespace, "-json", "link", "show", device]);
        let links: Value = serde_json::from_str(&links).unwrap();
        links[0]["address"].as_str().unwrap().to_owned()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.scanner, &self.sensor] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}
