//! What an action costs, read from its own arguments (`spec/policy.md`, `costs`).

use counterfoil_receipt::text::Currency;
use serde_json::Value;

use crate::{
    amount::Decimal,
    document::Policy,
    glob::Glob,
    request::{Found, Path, Request},
};

/// Where the cost of some tools' actions stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CostSource {
    pub tool: Glob,
    pub amount: Path,
    pub currency: Unit,
}

/// The currency of a cost: spelled out, or in the arguments too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Fixed(Currency),
    At(Path),
}

/// What an action costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// How much.
    pub amount: Decimal,
    /// Of what.
    pub currency: Currency,
}

/// What the action costs: what every source for its tool gives, if they agree.
///
/// # Errors
/// Why that is not known.
pub(crate) fn cost(sources: &[CostSource], request: &Request<'_>) -> Result<Spent, &'static str> {
    let mut costs = sources
        .iter()
        .filter(|source| source.tool.matches(request.action.tool.as_str()))
        .map(|source| source.of(request));
    let first = costs.next().unwrap_or(Err("the policy does not say where the cost of this tool stands"))?;
    for other in costs {
        if other? != first {
            return Err("the policy finds two costs that differ");
        }
    }
    Ok(first)
}

impl Policy {
    /// What an action costs, as its own arguments say.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn cost(&self, request: &Request<'_>) -> Result<Spent, &'static str> {
        cost(&self.costs, request)
    }
}

impl CostSource {
    fn of(&self, request: &Request<'_>) -> Result<Spent, &'static str> {
        let amount = match request.find(&self.amount) {
            Found::Value(value) => Decimal::from_argument(value),
            Found::Nothing => return Err("there is no amount"),
            Found::Hidden => return Err("the amount is not bound in the open"),
        };
        // Money that flows back would lie under every bound.
        let amount = amount.filter(|amount| !amount.is_negative()).ok_or("the amount is none")?;
        let currency = match &self.currency {
            Unit::Fixed(currency) => currency.clone(),
            Unit::At(path) => match request.find(path) {
                Found::Value(Value::String(text)) => {
                    Currency::new(text.as_str()).ok_or("the currency is none")?
                }
                Found::Value(_) => return Err("the currency is none"),
                Found::Nothing => return Err("there is no currency"),
                Found::Hidden => return Err("the currency is not bound in the open"),
            },
        };
        Ok(Spent { amount, currency })
    }
}
