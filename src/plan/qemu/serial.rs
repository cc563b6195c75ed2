//! Serial ports: each a socket that the daemon reads.

use serde_json::json;

use super::Plan;
use crate::model::SerialDef;

/// A PC has COM1 to COM4.
const PORTS: u32 = 4;

pub(super) fn add(plan: &mut Plan<'_>, serial: &SerialDef, handed: Option<i32>) {
    let port = serial.port;
    let port_path = format!("{}/target/@port", serial.info.path);
    if port >= PORTS {
        let message = format!("a PC has serial ports 0 to {}, and this is port {port}", PORTS - 1);
        plan.unsupported(&port_path, message, "leave out serial ports");
        return;
    }
    let id = format!("serial{port}");
    if !plan.slots.take_id(&id) {
        plan.error(&port_path, format!("serial port {port} is there twice"), "give each its own port");
        return;
    }
    let Some(fd) = handed else {
        plan.error(&serial.info.path, "the serial port's socket was not opened", "");
        return;
    };
    plan.args.pair("-chardev", format!("socket,id=char{id},fd={fd},server=on,wait=off"));
    let device = json!({ "driver": "isa-serial", "chardev": format!("char{id}"), "id": id, "index": port });
    plan.device(&serial.info.path, &device);
}
