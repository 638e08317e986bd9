//! GPUs by name and what they cost.

use std::collections::BTreeMap;

use vramplan::hardware::{self, GpuError, Prices};

#[test]
fn every_name_in_the_catalogue_finds_its_own_gpu() {
    for gpu in hardware::catalogue() {
        for name in [&gpu.slug].into_iter().chain(&gpu.aliases) {
            let found = hardware::find(name).map(|found| found.slug.as_str());
            assert_eq!(found, Ok(gpu.slug.as_str()), "{name}");
        }
    }
    let slugs: BTreeMap<_, _> = hardware::catalogue().iter().map(|gpu| (&gpu.slug, ())).collect();
    assert_eq!(slugs.len(), hardware::catalogue().len());
}

#[test]
fn names_are_found_however_they_are_written() {
    for (name, slug) in [
        ("4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("rtx_4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("rtx-4090-laptop", "rtx-4090-laptop"),
        ("a100-80g", "a100-sxm4-80gb"),
        ("A100 80GB", "a100-sxm4-80gb"),
        ("a100-80gb-sxm", "a100-sxm4-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb"),
        ("h100", "h100-sxm5-80gb"),
        ("Tesla T4", "t4"),
        ("mi300x", "mi300x"),
        // the card of that number, not its SUPER or its laptop
        ("4080", "rtx-4080"),
        ("7900 XTX", "rx-7900-xtx"),
    ] {
        assert_eq!(hardware::find(name).map(|gpu| gpu.slug.as_str()), Ok(slug), "{name}");
    }
}

#[test]
fn a_name_of_several_gpus_lists_them_with_their_memory() {
    let error = hardware::find("a100").map(|gpu| &gpu.slug).map_err(|error| error.to_string());
    assert_eq!(
        error,
        Err("`a100` is several GPUs: a100-pcie-40gb (40.00 GiB), a100-sxm4-40gb (40.00 GiB), a100-pcie-80gb (80.00 GiB), \
             a100-sxm4-80gb (80.00 GiB); name one"
            .to_owned())
    );
    for name in ["V100", "rtx 3080", "RTX-6000", "gh200", "4060 ti", "mi300"] {
        assert!(matches!(hardware::find(name), Err(GpuError::Ambiguous { .. } | GpuError::Unknown { .. })), "{name}");
    }
}

/// What stands in for a driver's figure is under every driver's figure that is known.
#[test]
fn memory_that_no_driver_was_seen_to_report_is_less_than_drivers_report() {
    for gpu in hardware::catalogue() {
        let advertised = gpu.memory_advertised_gb * 0.95;
        if gpu.memory_is_reported() {
            assert!(advertised <= gpu.memory().gb(), "{}: {}", gpu.slug, gpu.memory());
        } else {
            assert!(gpu.memory().gb() < advertised + 1e-6, "{}: {}", gpu.slug, gpu.memory());
        }
    }
    // ROCm shows the two halves of an MI250 as GPUs of 64 GB
    assert!(hardware::find("mi250").is_ok_and(|gpu| gpu.memory().gb() < 64.0));
    // of an M4 Max with 36 to 128 GB the least is taken, and of that what Metal lets a GPU have
    assert!(hardware::find("apple-m4-max").is_ok_and(|gpu| gpu.memory().gb() < 24.0));
}

#[test]
fn drivers_names_are_recognised_with_their_memory() {
    for gpu in hardware::catalogue().iter().filter(|gpu| gpu.memory_is_reported()) {
        let Some(name) = &gpu.nvml_name else { continue };
        let found = hardware::recognise(name, gpu.memory()).map(|found| found.slug.as_str());
        assert_eq!(found, Some(gpu.slug.as_str()), "{name}");
    }
}

#[test]
fn the_cheapest_machine_of_a_cloud_has_as_many_gpus() -> Result<(), Box<dyn std::error::Error>> {
    let rows = "cloud,gpu_slug,gpu_count,price_per_hour_usd,spot_price_per_hour_usd,snapshot_date\n\
                a,t4,1,1.0,0.5,2026-01-01\na,t4,4,3.0,,2026-01-01\na,t4,8,5.0,9.0,2026-01-02\nb,t4,2,4.0,,2026-01-03\n";
    let prices = Prices::from_csv(rows.as_bytes())?;
    let offers = |count| -> Vec<(&str, u64, bool)> {
        let offers = prices.cheapest(hardware::find("t4").unwrap_or(&hardware::catalogue()[0]), count);
        offers.iter().map(|offer| (offer.price.cloud.as_str(), offer.price.gpu_count, offer.spot)).collect()
    };
    assert_eq!(offers(1), [("a", 1, true), ("a", 1, false), ("b", 2, false)]);
    assert_eq!(offers(2), [("a", 4, false), ("b", 2, false), ("a", 8, true)]);
    assert_eq!(offers(9), []);
    Ok(())
}

#[test]
fn what_is_no_name_says_what_is() {
    assert!(matches!(hardware::find("RTX PRO 5000"), Err(GpuError::Ambiguous { choices, .. }) if choices.len() == 2));
    assert!(
        matches!(hardware::find("rtx-4091"), Err(GpuError::Unknown { nearest, .. }) if nearest.contains(&"rtx-4090".to_owned()))
    );
    for nothing in ["", " ", "-", "nvidia"] {
        assert!(hardware::find(nothing).is_err(), "{nothing:?}");
    }
}

/// Totals as nvidia-smi prints them (transcripts in public repositories).
#[test]
fn memory_is_what_drivers_report() {
    for (slug, mib) in
        [("rtx-4090", 24_564), ("a100-sxm4-80gb", 81_920), ("h100-sxm5-80gb", 81_559), ("l4", 23_034), ("t4", 15_360)]
    {
        assert_eq!(hardware::find(slug).map(|gpu| gpu.memory().0 >> 20), Ok(mib), "{slug}");
    }
    for gpu in hardware::catalogue() {
        assert!(gpu.kept_by_driver().0 > 0 && gpu.kept_by_driver().0 * 10 < gpu.memory().0, "{}", gpu.slug);
        assert!(gpu.memory().gb() < gpu.memory_advertised_gb * 1.075, "{}: {}", gpu.slug, gpu.memory());
    }
}

#[test]
fn the_users_prices_go_over_the_built_in_ones() -> Result<(), Box<dyn std::error::Error>> {
    let builtin = Prices::builtin();
    assert_eq!(builtin.all().len(), 475);
    let gpu = hardware::find("rtx-4090")?;
    assert!(builtin.of(gpu).len() > 1);
    let own = "cloud,gpu_slug,gpu_count,price_per_hour_usd,snapshot_date\nours,RTX 4090,2,0.02,2026-11-25\n";
    let prices = Prices::from_csv(own.as_bytes())?.over(builtin);
    assert_eq!(prices.all().len(), 476);
    let (price, hour) = prices.of(gpu)[0];
    assert_eq!((price.cloud.as_str(), format!("{hour:.2}")), ("ours", "0.01".to_owned()));
    Ok(())
}

#[test]
fn prices_that_are_none_are_refused() {
    let header = "cloud,gpu_slug,gpu_count,price_per_hour_usd,snapshot_date\n";
    for (row, says) in [
        ("x,no-such-gpu,1,1.0,2026-01-01", "column gpu_slug is no-such-gpu"),
        ("x,t4,0,1.0,2026-01-01", "column gpu_count is 0"),
        ("x,t4,1,-1,2026-01-01", "price_per_hour_usd is -1"),
        ("x,t4,1,NaN,2026-01-01", "price_per_hour_usd is NaN"),
        ("x,t4,1,1.0,", "snapshot_date is empty"),
        ("x,t4,one,1.0,2026-01-01", "line 2: column gpu_count is `one`: invalid digit"),
        ("x,t4", "line: 2"),
    ] {
        let error = Prices::from_csv(format!("{header}{row}\n").as_bytes()).map_err(|error| error.to_string());
        assert!(matches!(&error, Err(text) if text.contains(says)), "{row}: {error:?}");
    }
}
