//! A trust file, as a value that tests can change before it is written.

use counterfoil_receipt::{PublicKey, RecordId};
use counterfoil_verify::{Dimension, Trust};

/// The members of a trust file (`spec/trust.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFile {
    /// `genesis`
    pub genesis: RecordId,
    /// `origin`
    pub origin: String,
    /// `log_keys`
    pub log_keys: Vec<String>,
    /// `authority`: from, until, roots.
    pub authority: Vec<(u64, Option<u64>, Vec<PublicKey>)>,
    /// `witnesses.policy`
    pub witnesses: String,
    /// `require.dimensions`
    pub dimensions: Vec<Dimension>,
    /// `require.max_age`
    pub max_age: Option<String>,
}

impl TrustFile {
    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let quoted =
            |words: Vec<String>| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let mut out = format!(
            "version = 1\ngenesis = \"{}\"\norigin = {:?}\nlog_keys = [{}]\n",
            self.genesis,
            self.origin,
            quoted(self.log_keys.clone())
        );
        for (from, until, roots) in &self.authority {
            let until = until.map_or_else(String::new, |until| format!("until = {until}\n"));
            let roots = quoted(roots.iter().map(ToString::to_string).collect());
            out += &format!("\n[[authority]]\nfrom = {from}\n{until}roots = [{roots}]\n");
        }
        out += &format!("\n[witnesses]\npolicy = \"\"\"\n{}\"\"\"\n", self.witnesses);
        let dimensions = quoted(self.dimensions.iter().map(ToString::to_string).collect());
        out += &format!("\n[require]\ndimensions = [{dimensions}]\n");
        if let Some(max_age) = &self.max_age {
            out += &format!("max_age = {max_age:?}\n");
        }
        out
    }

    /// The same file, asking for these dimensions.
    pub fn requiring(mut self, dimensions: &[Dimension]) -> Self {
        self.dimensions = dimensions.to_vec();
        self
    }

    /// What a reader makes of it.
    pub fn trust(&self) -> Trust {
        Trust::parse(&self.to_toml()).expect("the testkit writes trust files that can be read")
    }
}
