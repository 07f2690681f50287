//! Connections of clients over HTTP: sessions by their names, and who has none by what they show the server.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use sha2::{Digest, Sha256};

use super::{
    exchanges::Exchanges,
    upstream::{Target, Upstream},
};
use crate::{calls::forget_idle, limits, message::Id, pool::Pool, proxy::Proxy, shared::Shared};

/// A connection, and its two sides.
pub(super) struct Connection {
    pub proxy: Arc<Proxy>,
    pub client: Arc<Exchanges>,
    pub server: Arc<Upstream>,
    used: Mutex<Instant>,
}

/// All of them.
pub(super) struct Connections {
    pub shared: Arc<Shared>,
    target: Arc<Target>,
    note: Arc<dyn Fn(&str) + Send + Sync>,
    table: Mutex<HashMap<Key, Arc<Connection>>>,
    /// Those that were closed, and since when.
    ending: Mutex<Vec<(Arc<Connection>, Instant)>>,
    /// What tells the server of that.
    endings: Pool,
    numbered: AtomicI64,
    exchanges: AtomicUsize,
}

/// What a connection is known by. Who shows the server something else is never given what is another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A session, by the name that the gate gave it.
    Session(String),
    /// Those who have none, by the digest of what they show.
    Shown([u8; 32]),
}

impl Key {
    /// Of who shows this.
    pub(super) fn of(authorization: Option<&str>) -> Self {
        let shown = authorization.map_or_else(|| vec![0], |text| [&[1], text.as_bytes()].concat());
        Self::Shown(Sha256::digest(shown).into())
    }
}

/// A place among the exchanges that are open, until it is dropped.
pub(super) struct Place(Arc<Connections>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.exchanges.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Connections {
    pub(super) fn new(
        shared: Arc<Shared>,
        target: Target,
        note: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            target: Arc::new(target),
            note,
            table: Mutex::default(),
            ending: Mutex::default(),
            endings: Pool::new(limits::ENDINGS, limits::CONNECTIONS),
            numbered: AtomicI64::new(0),
            exchanges: AtomicUsize::new(0),
        })
    }

    /// Whether the server is shown what the operator gave, and not what clients show.
    pub(super) fn has_credential(&self) -> bool {
        self.target.credential.is_some()
    }

    /// A place for an exchange; `None` if all are taken.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let before = self.exchanges.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(self));
        (before < limits::EXCHANGES).then_some(place)
    }

    /// An id that no other request of this gate has.
    pub(super) fn id(&self) -> Id {
        Id::Number(self.numbered.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// A connection that is open.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Connection>> {
        let found = self.table().get(key).cloned()?;
        *lock(&found.used) = Instant::now();
        Some(found)
    }

    /// The connection with this key, opened if it is not; `None` if there are too many.
    pub(super) fn open(&self, key: Key) -> Option<Arc<Connection>> {
        if let Some(found) = self.get(&key) {
            return Some(found);
        }
        let mut table = self.table();
        if let Some(found) = table.get(&key) {
            return Some(Arc::clone(found));
        }
        if table.len() >= limits::CONNECTIONS {
            // Who has no session loses nothing: what is held is in the log. Who has one begins another.
            let idle = table.iter().filter(|(_, one)| !one.is_busy());
            let order = |key: &Key, one: &Connection| (matches!(key, Key::Session(_)), *lock(&one.used));
            let oldest = idle.min_by_key(|(key, one)| order(key, one)).map(|(key, _)| key.clone())?;
            if let Some(one) = table.remove(&oldest) {
                self.end(one);
            }
        }
        let is_session = matches!(key, Key::Session(_));
        let client = Arc::new(Exchanges::new(is_session, Arc::clone(&self.note)));
        let (target, note) = (Arc::clone(&self.target), Arc::clone(&self.note));
        let server = Upstream::new(target, Arc::clone(&client), is_session, note);
        let proxy = Proxy::new(
            Arc::<Exchanges>::clone(&client),
            Arc::<Upstream>::clone(&server),
            Arc::clone(&self.shared),
            limits::RUNNING_SHARE,
        );
        server.answers_to(&proxy);
        let opened = Arc::new(Connection { proxy, client, server, used: Mutex::new(Instant::now()) });
        table.insert(key, Arc::clone(&opened));
        Some(opened)
    }

    /// Ends a connection, if it is there.
    pub(super) fn close(&self, key: &Key) -> bool {
        let closed = self.table().remove(key);
        closed.map(|one| self.end(one)).is_some()
    }

    /// Lets what runs in a connection end, and begins nothing in it any more: what is open is answered so, and then the server is told.
    fn end(&self, one: Arc<Connection>) {
        // What is opened from here on the proxy answers.
        one.proxy.client_gone();
        one.client.end();
        one.server.close_streams();
        lock(&self.ending).push((one, Instant::now()));
    }

    /// All that are open.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.table().values().cloned().collect()
    }

    /// Those that were closed, and in which something may run.
    pub(super) fn ending(&self) -> Vec<Arc<Connection>> {
        lock(&self.ending).iter().map(|(one, _)| Arc::clone(one)).collect()
    }

    /// Tells who waited long enough, ends what nobody waits for, and forgets who is silent for too long.
    pub(super) fn tick(&self, now: Instant) {
        let all = self.all();
        for connection in &all {
            connection.proxy.tick();
            connection.server.sweep();
        }
        let proxies: Vec<_> = all.iter().map(|connection| Arc::clone(&connection.proxy)).collect();
        forget_idle(&self.shared, &proxies);
        let is_old = |key: &Key, one: &Connection| {
            let silent = now.saturating_duration_since(*lock(&one.used));
            let is_none = matches!(key, Key::Session(_)) && one.server.version().is_none();
            one.server.is_over() || silent > limits::IDLE || is_none && silent > limits::BEGINNING
        };
        let old: Vec<Key> = self
            .table()
            .iter()
            .filter(|(key, one)| !one.is_busy() && is_old(key, one))
            .map(|(key, _)| key.clone())
            .collect();
        for key in old {
            self.close(&key);
        }
        self.tell_servers(now);
    }

    /// Tells the server of sessions that are over, a few at a time.
    fn tell_servers(&self, now: Instant) {
        let is_over = |one: &Connection, since: Instant| {
            one.server.sweep();
            !one.proxy.is_busy() || now.saturating_duration_since(since) > 2 * limits::AFTER_CANCEL
        };
        let over: Vec<_> = lock(&self.ending).extract_if(.., |(one, since)| is_over(one, *since)).collect();
        for (one, _) in over {
            // Of more than may wait it hears nothing: sessions expire there, too.
            self.endings.try_run(move || one.server.end_session());
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Arc<Connection>>> {
        lock(&self.table)
    }
}

impl Connection {
    fn is_busy(&self) -> bool {
        self.client.is_busy() || self.proxy.is_busy()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
