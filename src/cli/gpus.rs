//! `vramplan gpus`: what is installed, and what is known.

use std::borrow::Cow;
use std::path::Path;

use comfy_table::ColumnConstraint;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::showing::GpusArgs;
use super::asked::text_of;
use super::error::CliError;
use super::text::{bold, gib, lines, plain, table, warning, width, wrap};
use crate::hardware::{self, Device, Gpu, Inventory, MOST_BYTES, Mig, Offer, Prices, nvml};
use crate::units::Bytes;

/// `vramplan.gpus/1`
const SCHEMA: &str = "vramplan.gpus/1";
/// More than any table of prices needs.
const MOST_PRICES: u64 = 16 << 20;
/// Of so many GPUs each cloud's price is listed.
const FEW: usize = 3;
/// From here on a table has room for a cloud's name.
const WIDE: u16 = 96;

#[derive(Serialize, JsonSchema)]
pub(super) struct Output<'a> {
    schema: &'static str,
    installed: &'a Inventory,
    gpus: Vec<Known<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct Known<'a> {
    #[serde(flatten)]
    gpu: &'a Gpu,
    memory_bytes: Bytes,
    memory_is_reported: bool,
    /// The cheapest machine of each cloud, at its date.
    prices: Vec<Cost<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct Cost<'a> {
    cloud: &'a str,
    region: &'a str,
    instance_type: &'a str,
    gpu_count: u64,
    spot: bool,
    usd_per_hour: f64,
    snapshot_date: &'a str,
    source: &'a str,
}

impl<'a> From<Offer<'a>> for Cost<'a> {
    fn from(Offer { price, spot, usd_per_hour, .. }: Offer<'a>) -> Self {
        Self {
            cloud: &price.cloud,
            region: &price.region,
            instance_type: &price.instance_type,
            gpu_count: price.gpu_count,
            spot,
            usd_per_hour,
            snapshot_date: &price.snapshot_date,
            source: &price.source,
        }
    }
}

pub(super) fn run(args: &GpusArgs) -> Result<String, CliError> {
    let prices = prices(args.prices.as_deref())?;
    let mut installed = inventory(args.gpus_from.as_deref())?;
    let mut gpus: Vec<&Gpu> = hardware::catalogue().iter().collect();
    if let Some(filter) = &args.filter {
        gpus.retain(|gpu| gpu.is_like(filter));
        let wanted = filter.to_lowercase();
        installed.devices.retain(|device| {
            device.gpu.is_some_and(|gpu| gpu.is_like(filter)) || device.name.to_lowercase().contains(&wanted)
        });
        if gpus.is_empty() && installed.devices.is_empty() {
            return Err(CliError::Usage(format!(
                "no GPU's name, class or architecture contains `{filter}`; `vramplan gpus` lists all"
            )));
        }
    }
    if args.json {
        let gpus = gpus.into_iter().map(|gpu| known(gpu, &prices)).collect();
        return super::text::json(&Output { schema: SCHEMA, installed: &installed, gpus });
    }
    let width = width();
    let mut out = String::new();
    // who looks for a GPU by name is told of those here only where there are such
    if args.filter.is_none() || args.gpus_from.is_some() || !installed.devices.is_empty() {
        out.push_str(&what_is_installed(&installed, width));
        out.push('\n');
    }
    if !gpus.is_empty() {
        out.push_str(&what_is_known(&gpus, &prices, width));
    }
    Ok(out)
}

/// What is installed: by a file, or by this machine's driver.
pub(super) fn inventory(from: Option<&Path>) -> Result<Inventory, CliError> {
    let Some(path) = from else { return Ok(nvml::detect()) };
    let text = text_of(path, MOST_BYTES, "a list of GPUs")?;
    Inventory::from_text(&text).map_err(|source| CliError::Gpus { path: path.to_owned(), source })
}

/// The built-in prices, and over them those of a file.
pub(super) fn prices(own: Option<&Path>) -> Result<Cow<'static, Prices>, CliError> {
    let Some(path) = own else { return Ok(Cow::Borrowed(Prices::builtin())) };
    let text = text_of(path, MOST_PRICES, "a table of prices")?;
    let own = Prices::from_csv(text.as_bytes()).map_err(|source| CliError::Prices { path: path.to_owned(), source })?;
    Ok(Cow::Owned(own.over(Prices::builtin())))
}

fn known<'a>(gpu: &'a Gpu, prices: &'a Prices) -> Known<'a> {
    Known {
        gpu,
        memory_bytes: gpu.memory(),
        memory_is_reported: gpu.memory_is_reported(),
        prices: prices.cheapest(gpu, 1).into_iter().map(Cost::from).collect(),
    }
}

fn what_is_installed(installed: &Inventory, width: u16) -> String {
    let mut out = bold("Installed");
    if let Some(version) = &installed.driver_version {
        out.push_str(&format!(" (driver {})", plain(version)));
    }
    out.push('\n');
    if !installed.devices.is_empty() {
        out.push_str(&devices(&installed.devices, width));
    }
    for device in &installed.devices {
        if let Some(problem) = &device.problem {
            let line = format!("{}: {}", short(&label(device), usize::from(width) / 2), plain(problem));
            out.push_str(&format!("{}\n", warning(wrap(&line, width, "  "))));
        }
    }
    if let Some(problem) = &installed.problem {
        out.push_str(&(wrap(&plain(problem), width, "  ") + "\n"));
    }
    out
}

/// Between two columns.
const GAP: usize = 3;

/// The devices as a table, without what they are known as where it has no room for that.
fn devices(devices: &[Device], width: u16) -> String {
    let header = ["gpu", "GiB", "used", "free", "known as"];
    let mut cells: Vec<[String; 5]> = devices.iter().map(row).collect();
    let widest = |cells: &[[String; 5]], column: usize| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default().max(header[column].len()) + GAP
    };
    let sizes: usize = (1..4).map(|column| widest(&cells, column)).sum();
    let room = usize::from(width).saturating_sub(sizes);
    let all = widest(&cells, 0) + widest(&cells, 4) <= room + GAP;
    for row in &mut cells {
        row[0] = short(&row[0], room);
    }
    let columns = if all { 5 } else { 4 };
    let mut rows = table(&header[..columns], width);
    for row in cells {
        rows.add_row(row.into_iter().take(columns));
    }
    lines(&rows)
}

/// The text, or as much of it as has room.
fn short(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

fn row(device: &Device) -> [String; 5] {
    let size = |size: Option<Bytes>| size.map_or_else(|| "?".to_owned(), gib);
    let known = match (&device.mig, device.gpu) {
        (Mig::Parent, _) => "cut into slices",
        (Mig::Slice { .. }, Some(gpu)) => &format!("slice of {}", gpu.slug),
        (_, Some(gpu)) => gpu.slug.as_str(),
        (_, None) => "-",
    };
    [label(device), size(device.total), size(device.used), size(device.free), known.to_owned()]
}

/// A device in a few words: its place, its name, how many.
fn label(device: &Device) -> String {
    let mut words = Vec::new();
    if let Some(index) = device.index {
        words.push(format!("{index}"));
    }
    let name = plain(&device.name);
    let bare = name.strip_prefix("NVIDIA ").or_else(|| name.strip_prefix("NVIDIA-")).unwrap_or(&name);
    words.push(if bare.is_empty() { "no name".to_owned() } else { bare.to_owned() });
    if device.count > 1 {
        words.push(format!("x{}", device.count));
    }
    if let Some(node) = &device.node {
        words.push(format!("on {}", plain(node)));
    }
    words.join(" ")
}

fn what_is_known(gpus: &[&Gpu], prices: &Prices, width: u16) -> String {
    let mut out = bold("Known") + "\n";
    let columns = match width {
        ..60 => 3,
        60..80 => 5,
        80..WIDE => 7,
        WIDE.. => 8,
    };
    let header = ["gpu", "GiB", "GB/s", "bf16", "cc", "$/h", "as of", "at"];
    let mut rows = table(&header[..columns], width);
    for index in 1..columns {
        // a date that is broken is none
        if let Some(column) = rows.column_mut(index) {
            column.set_padding((1, 0)).set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let on_demand = |gpu: &Gpu| prices.of(gpu).into_iter().next();
    for gpu in gpus {
        let cheapest = on_demand(gpu);
        let row = [
            gpu.slug.clone(),
            format!("{}{}", if gpu.memory_is_reported() { "" } else { "~" }, gib(gpu.memory())),
            number(gpu.memory_bandwidth_gb_s),
            number(gpu.bf16_dense_tflops),
            gpu.compute_capability.clone().unwrap_or_else(|| "-".to_owned()),
            cheapest.map_or_else(|| "-".to_owned(), |(_, cost)| format!("{cost:.2}")),
            cheapest.map_or_else(String::new, |(price, _)| plain(&price.snapshot_date)),
            cheapest.map_or_else(String::new, |(price, _)| plain(&price.cloud)),
        ];
        rows.add_row(row.into_iter().take(columns));
    }
    out.push_str(&lines(&rows));
    out.push('\n');
    if gpus.len() <= FEW {
        for gpu in gpus {
            out.push_str(&offers(gpu, prices, width));
        }
    }
    let legend = "GiB: all of its memory as its driver reports it; ~: no such report is known, and what stands here is less than is advertised. bf16: dense TFLOPS. $/h: the least a GPU costs an hour on demand among the prices this \
                  program comes with or was given, as of that date; prices change, ask the cloud.";
    out.push_str(&(wrap(legend, width, "") + "\n"));
    out
}

/// What clouds ask for one GPU or more.
fn offers(gpu: &Gpu, prices: &Prices, width: u16) -> String {
    let offers = prices.cheapest(gpu, 1);
    if offers.is_empty() {
        return format!("{}: no price is known.\n\n", gpu.slug);
    }
    let mut out = format!("{}, the cheapest machine of each cloud:\n", gpu.slug);
    let mut rows = table(&["cloud", "GPUs", "$/h", "", "as of"], width);
    for Offer { price, spot, usd_per_hour, .. } in offers {
        rows.add_row([
            plain(&price.cloud),
            price.gpu_count.to_string(),
            format!("{usd_per_hour:.2}"),
            if spot { "spot".to_owned() } else { String::new() },
            plain(&price.snapshot_date),
        ]);
    }
    out.push_str(&lines(&rows));
    out.push('\n');
    out
}

/// With as many decimals as matter.
fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}
