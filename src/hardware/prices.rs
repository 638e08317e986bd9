//! What GPUs cost to rent: dated figures, of which none is the truth.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalogue::{Gpu, find};

/// Prices of clouds at the dates that stand beside them.
const DATA: &str = include_str!("../../data/prices.csv");

/// What one kind of machine costs at one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Price {
    /// Who rents it out.
    pub cloud: String,
    /// Where.
    #[serde(default)]
    pub region: String,
    /// Their name for the machine.
    #[serde(default)]
    pub instance_type: String,
    /// The GPU's slug.
    pub gpu_slug: String,
    /// GPUs of the machine.
    pub gpu_count: u64,
    /// Its price an hour, in US dollars.
    pub price_per_hour_usd: Option<f64>,
    /// Its price an hour where it may be taken away at any time.
    #[serde(default)]
    pub spot_price_per_hour_usd: Option<f64>,
    /// When that was so.
    pub snapshot_date: String,
    /// Who says so.
    #[serde(default)]
    pub source: String,
}

/// A machine at a price.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Offer<'a> {
    /// The machine, with the date of the price.
    pub price: &'a Price,
    /// Whether it may be taken away at any time.
    pub spot: bool,
    /// What the machine costs an hour, in US dollars.
    pub usd_per_hour: f64,
}

/// Known prices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(Vec<Price>);

/// What is wrong with a file of prices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PricesError {
    /// It is not such a table.
    #[error(
        "{0}; the header is cloud,region,instance_type,gpu_slug,gpu_count,price_per_hour_usd,spot_price_per_hour_usd,snapshot_date,source"
    )]
    Csv(#[from] csv::Error),
    /// A field has no sense.
    #[error("line {line}: column {field} is {value}: {fix}")]
    Field {
        /// The line.
        line: u64,
        /// The column.
        field: String,
        /// What is there.
        value: String,
        /// What should be.
        fix: String,
    },
}

impl Prices {
    /// The prices that come with this version.
    pub fn builtin() -> &'static Self {
        static PRICES: OnceLock<Prices> = OnceLock::new();
        PRICES.get_or_init(|| Self::from_csv(DATA.as_bytes()).expect("a test reads the same text"))
    }

    /// Reads a table with a header; `gpu_slug` may be any name that a GPU is found by.
    ///
    /// # Errors
    /// It is not CSV, a column is missing, or a value is not one.
    pub fn from_csv(text: impl Read) -> Result<Self, PricesError> {
        let mut reader = csv::Reader::from_reader(text);
        let headers = reader.headers()?.clone();
        let mut prices = Vec::new();
        for record in reader.records() {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            let wrong = |field: &str, value: &dyn ToString, fix: String| {
                Err(PricesError::Field { line, field: field.to_owned(), value: value.to_string(), fix })
            };
            let mut price: Price = match record.deserialize(Some(&headers)) {
                Ok(price) => price,
                Err(error) => match column(&error) {
                    Some((column, why)) => {
                        let value = record.get(column).unwrap_or_default();
                        return wrong(headers.get(column).unwrap_or_default(), &format!("`{value}`"), why);
                    }
                    None => return Err(error.into()),
                },
            };
            for (field, value) in [
                ("price_per_hour_usd", price.price_per_hour_usd),
                ("spot_price_per_hour_usd", price.spot_price_per_hour_usd),
            ] {
                if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                    return wrong(field, &value, "give US dollars an hour".to_owned());
                }
            }
            if price.gpu_count == 0 {
                return wrong("gpu_count", &0, "give the number of GPUs of the machine".to_owned());
            }
            if price.snapshot_date.trim().is_empty() {
                return wrong("snapshot_date", &"empty", "say when this was the price, such as 2026-11-25".to_owned());
            }
            match find(&price.gpu_slug) {
                Ok(gpu) => price.gpu_slug.clone_from(&gpu.slug),
                Err(error) => return wrong("gpu_slug", &price.gpu_slug, error.to_string()),
            }
            prices.push(price);
        }
        Ok(Self(prices))
    }

    /// These prices, and of `others` those of clouds that these say nothing about.
    #[must_use]
    pub fn over(mut self, others: &Self) -> Self {
        let own: Vec<(String, String)> =
            self.0.iter().map(|price| (price.cloud.clone(), price.gpu_slug.clone())).collect();
        let known = |price: &&Price| !own.iter().any(|(cloud, gpu)| *cloud == price.cloud && *gpu == price.gpu_slug);
        self.0.extend(others.0.iter().filter(known).cloned());
        self
    }

    /// Every price.
    pub fn all(&self) -> &[Price] {
        &self.0
    }

    /// The cheapest machine of each cloud with `count` of this GPU or more, on demand and as spot, cheapest first.
    ///
    /// ```
    /// use vramplan::hardware::{self, Prices};
    ///
    /// let offers = Prices::builtin().cheapest(hardware::find("h100")?, 8);
    /// assert!(offers.iter().all(|offer| offer.price.gpu_count >= 8 && !offer.price.snapshot_date.is_empty()));
    /// # Ok::<(), hardware::GpuError>(())
    /// ```
    pub fn cheapest(&self, gpu: &Gpu, count: u64) -> Vec<Offer<'_>> {
        let mut offers: Vec<Offer<'_>> = self
            .machines(gpu, count)
            .flat_map(|price| {
                let ways = [(false, price.price_per_hour_usd), (true, price.spot_price_per_hour_usd)];
                ways.into_iter().filter_map(move |(spot, cost)| Some(Offer { price, spot, usd_per_hour: cost? }))
            })
            .collect();
        offers.sort_by(|a, b| a.usd_per_hour.total_cmp(&b.usd_per_hour));
        let mut seen = BTreeSet::new();
        offers.retain(|offer| seen.insert((offer.price.cloud.as_str(), offer.spot)));
        offers
    }

    fn machines(&self, gpu: &Gpu, count: u64) -> impl Iterator<Item = &Price> {
        self.0.iter().filter(move |price| price.gpu_slug == gpu.slug && price.gpu_count >= count)
    }

    /// What machines with this GPU cost on demand, a GPU and hour, cheapest first; one for each cloud.
    pub fn of(&self, gpu: &Gpu) -> Vec<(&Price, f64)> {
        self.of_several(gpu, 1)
    }

    /// The same of machines with `count` of them or more.
    pub fn of_several(&self, gpu: &Gpu, count: u64) -> Vec<(&Price, f64)> {
        let mut found: Vec<(&Price, f64)> =
            self.machines(gpu, count).filter_map(|price| Some((price, price.per_gpu_hour()?))).collect();
        found.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut clouds = Vec::new();
        found.retain(|(price, _)| {
            let new = !clouds.contains(&&price.cloud);
            if new {
                clouds.push(&price.cloud);
            }
            new
        });
        found
    }
}

/// The column whose value could not be read, and why.
fn column(error: &csv::Error) -> Option<(usize, String)> {
    let csv::ErrorKind::Deserialize { err, .. } = error.kind() else { return None };
    Some((usize::try_from(err.field()?).ok()?, err.kind().to_string()))
}

impl Price {
    /// US dollars a GPU and hour, on demand.
    #[expect(clippy::cast_precision_loss, reason = "a machine has few GPUs")]
    pub fn per_gpu_hour(&self) -> Option<f64> {
        self.price_per_hour_usd.map(|price| price / self.gpu_count as f64)
    }
}
