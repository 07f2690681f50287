//! Which members of a body stand together, and with which signer: what no single member can say (`spec/records.md` §6).

use std::collections::BTreeSet;

use crate::{
    body::{Body, Decision, Effects, Genesis, KeyChange, Keyring, RESERVED_ORIGIN, Ruling, Status, Surface},
    key::Role,
    malformed::{Code, Malformed},
    text::Principal,
};

impl Body {
    /// What no single member can say: which members stand together.
    pub(crate) fn is_coherent(&self) -> Result<(), Malformed> {
        if let Some(action) = self.action() {
            action.paths_are_disjoint().map_err(|fault| fault.within("action"))?;
        }
        match self {
            Body::Genesis(body) => body.is_coherent(),
            Body::Keyring(body) => body.members_fit_change(),
            Body::Observation(body) if body.items.is_none() && body.summary.is_none() => {
                Err(Malformed::new(Code::FieldMissing, "items or summary is required"))
            }
            Body::Decision(body) => body.terms_fit_ruling(),
            Body::Execution(body) if !body.decisions.is_empty() && body.break_glass.is_some() => {
                Err(Malformed::new(Code::FieldInvalid, "stand beside break_glass").within("decisions"))
            }
            Body::Settlement(body) if body.status == Status::Unknown => {
                Err(Malformed::new(Code::FieldInvalid, "a settlement settles").within("status"))
            }
            Body::Settlement(body) if body.effects == Effects::Unknown => {
                Err(Malformed::new(Code::FieldInvalid, "a settlement settles").within("effects"))
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody in this role can say it so.
    pub(crate) fn fits_role(&self, role: Role) -> Result<(), Malformed> {
        match self {
            Self::Decision(body) => body.voice_fits(role),
            _ => Ok(()),
        }
    }
}

impl Genesis {
    fn is_coherent(&self) -> Result<(), Malformed> {
        let invalid =
            |member: &str, detail: String| Err(Malformed::new(Code::FieldInvalid, detail).within(member));
        let roots = &self.authority.roots.0;
        let principals: BTreeSet<&Principal> = roots.iter().map(|root| &root.principal).collect();
        let keys: BTreeSet<_> =
            roots.iter().chain([&self.log.snapshot]).map(|holder| holder.key.material()).collect();
        if principals.len() < roots.len() || keys.len() < roots.len() + 1 {
            return invalid("authority", "a principal or key stands twice".to_owned());
        }
        if self.authority.threshold.get() > roots.len() as u64 {
            let detail = format!("{} of {} roots can never agree", self.authority.threshold, roots.len());
            return invalid("authority", detail);
        }
        if self.origin.as_str() == RESERVED_ORIGIN {
            return invalid(
                "origin",
                "a note of this origin could be read as a record's preimage".to_owned(),
            );
        }
        Ok(())
    }
}

impl Keyring {
    fn members_fit_change(&self) -> Result<(), Malformed> {
        let invalid =
            |member: &str, detail: &str| Err(Malformed::new(Code::FieldInvalid, detail).within(member));
        match (self.change, &self.replaces) {
            (KeyChange::Rotate, None) => {
                return Err(Malformed::new(Code::FieldMissing, "is required to rotate").within("replaces"));
            }
            (KeyChange::Enrol | KeyChange::Retire, Some(_)) => {
                return invalid("replaces", "stands only with rotate");
            }
            (KeyChange::Rotate, Some(_)) | (KeyChange::Enrol | KeyChange::Retire, None) => {}
        }
        if self.not_before.is_some() || self.not_after.is_some() {
            if self.change == KeyChange::Retire {
                return invalid("not_after", "a retirement has no validity");
            }
            // Authority that runs out by itself can be lost for good; a snapshot key would be judged by its own clock.
            if matches!(self.role, Role::Authority | Role::Log) {
                return invalid("not_after", "a key of the authority or of the log has no validity");
            }
        }
        if self.threshold.is_some() && self.role != Role::Authority {
            return invalid("threshold", "stands only with role authority");
        }
        Ok(())
    }
}

impl Decision {
    /// R-DEC-01
    fn terms_fit_ruling(&self) -> Result<(), Malformed> {
        let fault =
            |member: &str, detail: &str| Err(Malformed::new(Code::DecisionTerms, detail).within(member));
        let approves = self.verdict == Ruling::Approve;
        if self.uses.is_some() != approves {
            return fault("uses", "stands with approve and only there");
        }
        if self.window.is_some() != approves {
            return fault("window", "stands with approve and only there");
        }
        if self.window.as_ref().is_some_and(|window| window.from >= window.until) {
            return fault("window", "ends before it starts");
        }
        if self.changes.is_some() && self.verdict != Ruling::RequestChanges {
            return fault("changes", "stands only with request_changes");
        }
        Ok(())
    }

    /// R-DEC-03
    fn voice_fits(&self, role: Role) -> Result<(), Malformed> {
        let fault =
            |member: &str, detail: &str| Err(Malformed::new(Code::DecisionVoice, detail).within(member));
        match role {
            Role::Policy => match (&self.approver, &self.rule) {
                (Some(_), None) if self.surface != Surface::Link => {
                    return fault("surface", "is link where somebody else signs for the approver");
                }
                (None, Some(_)) if self.surface != Surface::None => {
                    return fault("surface", "is none where a time is out");
                }
                (None, Some(_)) if self.verdict == Ruling::RequestChanges => {
                    return fault("verdict", "nobody asks for changes where a time is out");
                }
                (Some(_), None) | (None, Some(_)) => {}
                (Some(_), Some(_)) => return fault("rule", "nobody decides where a time is out"),
                (None, None) => return fault("approver", "or rule is required in role policy"),
            },
            Role::Human if self.approver.is_some() => {
                return fault("approver", "stands only in role policy");
            }
            Role::Human if self.rule.is_some() => return fault("rule", "stands only in role policy"),
            // Which roles may decide is R-ROLE-01.
            Role::Human | Role::Agent | Role::Runtime | Role::Authority | Role::Log => {}
        }
        if self.shown.is_some() == self.rule.is_some() {
            return fault("shown", "stands unless rule does");
        }
        Ok(())
    }
}
