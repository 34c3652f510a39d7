//! Looks at a broker again and again. Its end is noticed by what started it; this is for one that hangs.

use std::sync::Arc;
use std::time::Duration;

use super::amqp::{self, Account, Fault};
use super::params::Params;
use crate::agent::EventSink;
use crate::clock;
use crate::probe::{Window, http};

/// A look that comes later than this was held up on this node, and says nothing about the broker.
const LATE: Duration = Duration::from_secs(2);

/// One look, as the start and the keeper do it.
pub async fn look(params: &Params, account: Option<&Account>) -> Result<(), String> {
    let seen = amqp::look(params.address, params.port, account, params.probe_timeout).await;
    seen.map_err(|fault: Fault| format!("AMQP at {}:{}: {fault}", params.address, params.port))?;
    let Some(port) = params.management_port else {
        return Ok(());
    };
    let url = format!("http://{}/", std::net::SocketAddr::new(params.address, port));
    match tokio::time::timeout(params.probe_timeout, http::get(&url)).await {
        Ok(answer) => answer.map_err(|error| format!("management at {url}: {error}")),
        Err(_) => Err(format!(
            "management at {url}: no answer within {} ms",
            params.probe_timeout.as_millis()
        )),
    }
}

/// Until too many looks failed, which is told.
pub async fn keep(params: Arc<Params>, account: Option<Account>, events: EventSink) {
    let mut window = Window::new(params.looks.failures, params.looks.of);
    loop {
        let due = clock::now() + params.probe_interval;
        tokio::time::sleep(params.probe_interval).await;
        let late = due.until(clock::now());
        let seen = look(&params, account.as_ref()).await;
        if late >= LATE {
            continue;
        }
        if window.push(seen.is_ok()) {
            let (failed, of) = (params.looks.failures, params.looks.of);
            let reason = seen.err().unwrap_or_default();
            events.failed(format!(
                "rabbitmq failed {failed} of its last {of} looks: {reason}"
            ));
            return;
        }
    }
}
