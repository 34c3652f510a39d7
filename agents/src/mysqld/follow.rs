//! Looks after an unpromoted server: it follows the primary that is agreed on, and takes no writes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_proto::time::Time;

use super::attach::{self, Attached};
use super::client::{Client, SqlError};
use super::gtid::Gtids;
use super::hold;
use super::mark;
use super::seed;
use super::semi_sync;
use super::site::{self, Site};
use super::status::Status;
use super::turns::Turns;
use crate::clock;
use crate::roles::{CopyStatus, Peer};

/// Pause between looks.
const TICK: Duration = Duration::from_millis(500);
/// Pause between attempts to follow a primary that does not let us yet.
const ATTACH_AGAIN: Duration = Duration::from_millis(250);
/// Pause between attempts to apply a transaction that could not be applied.
const APPLY_AGAIN: Duration = Duration::from_secs(10);

/// How an unpromoted server stands.
pub struct Follower {
    site: Arc<Site>,
    /// See [`mark`]: it ended while it followed, and until it has caught up, it may lack what it had acknowledged.
    uncertain: bool,
    /// What the primary had when we began to follow; caught up is who has this.
    target: Option<Gtids>,
    /// Why it does not follow, and when to try again.
    obstacle: String,
    waits: String,
    attach_at: Option<Time>,
    apply_at: Option<Time>,
    /// When the primary was last received from, in words.
    contact: String,
    lag_warned: bool,
    /// It waits for no replica of its own any more.
    prepared: bool,
}

/// Looks after the server until it fails.
pub async fn run(site: Arc<Site>) {
    let mut turns = Turns::new(&site);
    let mut follower = Follower {
        site: Arc::clone(&site),
        uncertain: mark::is_doubtful(&site),
        target: None,
        obstacle: String::new(),
        waits: String::new(),
        attach_at: None,
        apply_at: None,
        contact: String::new(),
        lag_warned: false,
        prepared: false,
    };
    loop {
        if let Some(outcome) = turns.take(async |client| follower.turn(client).await).await
            && let Some(reason) = turns.health.judge(outcome, &site.params, &site.events).await
        {
            site.events.failed(reason);
            return;
        }
        let pause = if follower.attach_at.is_some() {
            ATTACH_AGAIN
        } else {
            TICK
        };
        if turns.rest(pause).await {
            follower.attach_at = None;
        }
    }
}

impl Follower {
    async fn turn(&mut self, client: &mut Client) -> Result<(), SqlError> {
        let view = self.site.view();
        if !site::is_read_only(client).await? {
            hold::read_only(client).await?;
            let text = "somebody let clients write to a server that is not promoted: it is read-only again";
            self.site.events.note("warn", "mysqld-read-only", text);
        }
        if !self.prepared {
            // What it applies would wait for ever. It is read-only: no client's commit is let go. MySQL takes up to a second for
            // it while a replica is connected; the next primary ends its connection first of all.
            semi_sync::wait_for_nobody(client).await?;
            self.prepared = true;
        }
        let mut status = Status::read(client).await?;
        if let Some(primary) = view.remote_primary() {
            let asked = seed::is_requested(&self.site);
            let follows = !asked
                && status.as_ref().is_some_and(|status| {
                    self.site
                        .address(primary)
                        .is_some_and(|address| status.host == address.to_string())
                        && status.port == self.site.params.port
                        && status.receiver_runs
                        && status.receive_error.0 != attach::FATAL_READ
                });
            let due = self.attach_at.is_none_or(|at| clock::now() >= at);
            if !follows && due {
                self.attach(client, primary, status.as_ref()).await?;
                status = Status::read(client).await?;
            } else if follows {
                self.obstacle.clear();
                self.waits.clear();
                self.attach_at = None;
                self.apply_again(client, status.as_ref()).await?;
            }
        }
        self.tell(client, status.as_ref(), view.remote_primary()).await
    }

    async fn attach(
        &mut self,
        client: &mut Client,
        primary: &Peer,
        status: Option<&Status>,
    ) -> Result<(), SqlError> {
        match attach::attach(&self.site, client, primary, status).await? {
            Attached::Follows(target) => {
                self.obstacle.clear();
                self.waits.clear();
                self.attach_at = None;
                self.target = Some(target);
            }
            Attached::Waits(why) => {
                self.waits = why;
                self.attach_at = Some(clock::now() + ATTACH_AGAIN);
            }
            Attached::Diverged(obstacle) => {
                if self.obstacle != obstacle {
                    self.site.events.note("warn", "mysqld-diverged", obstacle.clone());
                }
                self.obstacle = obstacle;
                self.attach_at = Some(clock::now() + self.site.lease);
            }
        }
        Ok(())
    }

    /// What could not be applied may be by now: a lock that timed out, a disk that was full.
    async fn apply_again(&mut self, client: &mut Client, status: Option<&Status>) -> Result<(), SqlError> {
        let stands = status.is_some_and(|status| !status.applies);
        if !stands {
            self.apply_at = None;
            return Ok(());
        }
        let due = *self.apply_at.get_or_insert_with(clock::now);
        if clock::now() >= due {
            self.apply_at = Some(clock::now() + APPLY_AGAIN);
            client.run("START REPLICA SQL_THREAD").await?;
        }
        Ok(())
    }

    async fn tell(
        &mut self,
        client: &mut Client,
        status: Option<&Status>,
        primary: Option<&Peer>,
    ) -> Result<(), SqlError> {
        let own = site::applied(client).await?;
        if self.target.as_ref().is_some_and(|target| own.contains(target)) {
            self.target = None;
            self.uncertain = false;
            mark::settled(&self.site);
        }
        if self.uncertain && !mark::is_set(&self.site.params) {
            self.uncertain = false;
            mark::settled(&self.site);
            let text = "the mark was removed: what this copy may lack is accepted as lost";
            self.site.events.note("warn", "mysqld-doubt-ended", text);
        }
        let runs = status.is_some_and(|status| status.receives && status.applies);
        if runs {
            self.contact.clear();
        } else if self.contact.is_empty() {
            self.contact = time_of_day();
        }
        let lag_s = status.filter(|_| runs).and_then(|status| status.lag_s);
        let broken = status.map(Status::broken).unwrap_or_default();
        let received = status.map_or(0, |status| status.received.position());
        let copy = CopyStatus {
            obstacle: self.why_not(broken),
            // What was received is applied before a promotion.
            position: own.position().max(received),
            history: own.history(),
            position_text: site::position_text(client).await?,
            lag_ms: lag_s.map(|lag| lag.saturating_mul(1000)),
            possible_loss: self.possible_loss(runs),
            wish: None,
            readable: runs && lag_s.is_some(),
        };
        self.warn_of_lag(lag_s);
        self.say(client, status, primary, lag_s);
        self.site.copy.tell(copy);
        Ok(())
    }

    /// Why it cannot be promoted.
    fn why_not(&self, broken: String) -> String {
        if !self.obstacle.is_empty() {
            return self.obstacle.clone();
        }
        if self.uncertain && broken.is_empty() {
            let mark = mark::path(&self.site.params);
            return format!("{}, or remove {} to accept that", mark::DOUBT, mark.display());
        }
        broken
    }

    fn possible_loss(&self, runs: bool) -> String {
        if self.uncertain {
            return "what it had received and not applied when its server ended: how many transactions is not known".into();
        }
        let view = self.site.roles.borrow();
        if runs || view.in_sync.nodes.contains(&view.own.name) {
            return String::new();
        }
        format!(
            "whatever was written since it lost its primary at {}",
            self.contact
        )
    }

    fn warn_of_lag(&mut self, lag_s: Option<u64>) {
        let alarm = self.site.params.lag_alarm.as_secs();
        match lag_s {
            Some(lag) if lag > alarm && !self.lag_warned => {
                self.lag_warned = true;
                let text = format!("the replica is {lag} s behind its primary (lag_alarm is {alarm} s)");
                self.site.events.note("warn", "mysqld-lag", text);
            }
            Some(lag) if lag <= alarm / 2 => self.lag_warned = false,
            _ => {}
        }
    }

    fn say(&self, client: &Client, status: Option<&Status>, primary: Option<&Peer>, lag_s: Option<u64>) {
        let server = client.server();
        let name = primary.map_or("nobody", |primary| primary.name.as_str());
        let how = match (status, lag_s) {
            _ if !self.obstacle.is_empty() => self.obstacle.clone(),
            (_, None) if !self.waits.is_empty() => self.waits.clone(),
            (Some(_), Some(lag)) => format!("follows {name}, {lag} s behind"),
            (Some(status), None) => {
                let (_, receive) = &status.receive_error;
                let (_, apply) = &status.apply_error;
                format!("follows {name}, not running: {receive}{apply}")
            }
            (None, _) => "follows nobody".into(),
        };
        self.site.seen.say(&format!("{server}, replica, {how}"));
    }
}

/// Everything that was received is applied, nothing more is received: for a clean stop.
///
/// # Errors
/// It takes too long, or cannot be applied.
pub async fn drain(client: &mut Client, until: Time) -> Result<(), String> {
    let error = |error: SqlError| error.to_string();
    let Some(status) = Status::read(client).await.map_err(error)? else {
        return Ok(());
    };
    client.run("STOP REPLICA IO_THREAD").await.map_err(error)?;
    if !status.applies {
        client.run("START REPLICA SQL_THREAD").await.map_err(error)?;
    }
    loop {
        let Some(status) = Status::read(client).await.map_err(error)? else {
            return Ok(());
        };
        if site::applied(client)
            .await
            .map_err(error)?
            .contains(&status.received)
        {
            return Ok(());
        }
        let broken = status.broken();
        if !status.applies && !broken.is_empty() {
            return Err(broken);
        }
        if clock::now() >= until {
            return Err("not everything that was received could be applied in time".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Before a stop of a replica, as far as time allows: then nothing that it acknowledged is in its relay log alone.
pub async fn settle(site: &Site, until: Time) {
    if !mark::is_set(&site.params) {
        return;
    }
    let Ok(mut client) = site.local().await else {
        return;
    };
    match drain(&mut client, until).await {
        Ok(()) => mark::clear(&site.params),
        Err(why) => site.events.note("warn", "mysqld-undrained", why),
    }
}

/// Now, as UTC.
fn time_of_day() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}
