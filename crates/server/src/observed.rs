//! What others have seen of the log, asked before it is opened for writing (`spec/log.md`, "Starting").
//!
//! An observer that can't be asked is a warning and no refusal: the log's own public address does not answer while the log
//! is down, and whoever can cut a log off from its mirrors could else keep it from starting.

use std::{
    fmt,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use counterfoil_audit::Source;
use counterfoil_log::{Ask, CheckpointKeys, Claim, Observed};
use counterfoil_tlog::{UnverifiedNote, VerifierKey};
use counterfoil_witness::{AlarmKind, Kept, PushError, Said, ask_last, limits::LAST_TIME};

use crate::{config::Config, witnesses::read_policy};

/// How long all of them together may take to answer.
const ANSWER: Duration = Duration::from_secs(15);

/// Asks every published copy, and the kept store of witnessed checkpoints, for the latest checkpoint they have. Gives what
/// they answered, and who could not be asked.
#[must_use]
pub fn observe(config: &Config, keys: &CheckpointKeys) -> (Vec<Observed>, Vec<Unasked>) {
    let (mut observed, mut unasked) = (Vec::new(), Vec::new());
    let mut take = |who: String, answer: Result<Vec<u8>, String>| {
        let answer = answer.and_then(|note| String::from_utf8(note).map_err(|error| error.to_string()));
        match answer.and_then(|note| keys.observe(who.as_str(), &note).map_err(|error| error.to_string())) {
            Ok(seen) => observed.push(seen),
            Err(why) => unasked.push(Unasked { who, why }),
        }
    };
    match Kept::open_to_read(&config.log_dir, keys.origin())
        .and_then(|kept| kept.map_or(Ok(None), |kept| kept.latest()))
    {
        Ok(None) => {}
        Ok(Some(kept)) => take(KEPT.to_owned(), Ok(kept.note.to_string().into_bytes())),
        Err(error) => take(KEPT.to_owned(), Err(error.to_string())),
    }
    // A thread that waits for an answer ends by itself, later.
    let asked = config.published.iter().map(|place| {
        let (place, (sender, answer)) = (place.clone(), mpsc::channel());
        let ask = move || {
            let answer = Source::new(&place, None).and_then(|source| source.checkpoint());
            drop(sender.send(answer.map_err(|error| error.to_string())));
        };
        thread::Builder::new().name("observed".to_owned()).spawn(ask).map(|_| answer)
    });
    let asked: Vec<_> = asked.collect();
    let until = Instant::now() + ANSWER;
    for (place, answer) in config.published.iter().zip(asked) {
        let answer = answer.map_err(|error| error.to_string()).and_then(|answer| {
            let left = until.saturating_duration_since(Instant::now());
            answer.recv_timeout(left).unwrap_or_else(|_| Err(format!("no answer in {} s", ANSWER.as_secs())))
        });
        take(place.clone(), answer);
    }
    (observed, unasked)
}

/// Asks the witnesses of a log, if it has some, what they have cosigned last: as [`observe`], but they have nothing to show for it.
/// Whoever could not be asked is sent to `unasked`.
pub(crate) fn ask_witnesses(
    config: &Config,
    log_keys: Vec<VerifierKey>,
    unasked: mpsc::Sender<Unasked>,
) -> Option<Ask> {
    let path = config.witnesses.as_ref()?.policy.clone();
    Some(Box::new(move |locked| {
        // A policy that can't be used is an error of its own, once the log is open.
        let Ok(policy) = read_policy(&path, &log_keys) else { return Vec::new() };
        let Ok(latest) = UnverifiedNote::parse(locked.text.as_bytes()) else { return Vec::new() };
        let said = ask_last(&policy, &log_keys, &latest, LAST_TIME).unwrap_or_default();
        let claim = |(who, said): Said| match said {
            Ok(()) => None,
            Err(PushError::Alarm(alarm)) => Some(match alarm.kind {
                AlarmKind::Ahead { theirs, .. } => Claim::Size { who, size: theirs },
                AlarmKind::Different { size } => Claim::OtherTree { who, size },
            }),
            Err(why) => {
                drop(unasked.send(Unasked { who: format!("the witness {who}"), why: why.to_string() }));
                None
            }
        };
        said.into_iter().filter_map(claim).collect()
    }))
}

/// Somebody who could not be asked what they have seen of the log.
#[derive(Clone, Debug)]
pub struct Unasked {
    /// The URL or directory, as configured.
    pub who: String,
    /// Why not.
    pub why: String,
}

impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} could not be asked for the latest checkpoint: {}", self.who, self.why)
    }
}

/// What the kept store is called in messages.
const KEPT: &str = "the store of witnessed checkpoints";
