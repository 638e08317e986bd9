//! `vramplan gpus`, and the inventories it reads: NVIDIA's library as a stand-in plays it, nvidia-smi, a cluster, a list.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use vramplan::Bytes;
use vramplan::hardware::{Inventory, Mig, Origin, Prices};

#[cfg(all(target_os = "linux", feature = "nvml"))]
#[path = "stand_in/mod.rs"]
mod nvml;

fn vramplan(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("vramplan").unwrap();
    command.env_remove("COLUMNS").args(arguments);
    command
}

fn json(command: &mut assert_cmd::Command) -> Value {
    let output = command.assert().success().stderr("").get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inventories").join(name)).unwrap()
}

mod without_a_driver {
    use super::*;

    /// Where this machine has a driver there is nothing to test.
    #[test]
    fn it_is_said_plainly_and_no_error() {
        if vramplan::hardware::nvml::detect().driver_version.is_some() {
            return;
        }
        let answer = json(&mut vramplan(&["gpus", "--json"]));
        assert_eq!(answer["schema"], "vramplan.gpus/1");
        assert_eq!(answer["installed"]["devices"], Value::Array(Vec::new()));
        assert!(answer["installed"]["problem"].as_str().unwrap().contains("no NVIDIA driver"));
        assert_eq!(answer["gpus"].as_array().unwrap().len(), 155);
        let output = vramplan(&["gpus"]).assert().success().get_output().stdout.clone();
        assert!(String::from_utf8(output).unwrap().contains("no NVIDIA driver"));
    }
}

#[test]
fn tables_fit_their_width() {
    let list = "[[gpu]]\nname = \"rtx-pro-6000-blackwell-server\"\ncount = 800000\nnode = \"a-node-with-a-name-of-some-length.internal\"\n";
    for arguments in [&["gpus"][..], &["gpus", "h100"], &["gpus", "--gpus-from", "-"]] {
        for width in ["80", "120"] {
            let output = vramplan(arguments).env("COLUMNS", width).write_stdin(list).assert().success();
            let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
            for line in text.lines() {
                assert!(line.chars().count() <= width.parse().unwrap(), "{arguments:?} at {width}: {line}");
            }
            // a date that is broken is none
            assert!(arguments.len() > 1 || text.contains("2026-07-20"), "{text}");
        }
    }
}

#[cfg(all(target_os = "linux", feature = "nvml"))]
mod stand_in {
    use super::*;
    use crate::nvml::library;

    fn machine(kind: &str, old: bool, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = vramplan(arguments);
        command.env("LD_LIBRARY_PATH", library("nvml", old)).env("STAND_IN", kind).env("PATH", library("nvml", old));
        command
    }

    fn installed(kind: &str, old: bool) -> Value {
        json(&mut machine(kind, old, &["gpus", "--json"]))["installed"].take()
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn every_card_is_listed_and_what_it_does_not_answer_is_with_it() {
        let found = installed("cards", false);
        assert_eq!((found["origin"].as_str(), found["driver_version"].as_str()), (Some("nvml"), Some("570.86.15")));
        let devices = found["devices"].as_array().unwrap();
        let field = |name: &str| devices.iter().map(|device| device[name].clone()).collect::<Vec<_>>();
        assert_eq!(field("index"), [0, 1, 2, 3, 4, 4, 4, 5, 6].map(Value::from));
        let gpus = [
            "rtx-4090",
            "rtx-4090",
            "",
            "",
            "a100-sxm4-40gb",
            "a100-sxm4-40gb",
            "a100-sxm4-40gb",
            "h100-sxm5-80gb",
            "gb10-128gb",
        ];
        assert_eq!(field("gpu"), gpus.map(|slug| if slug.is_empty() { Value::Null } else { slug.into() }));
        let problems: Vec<String> =
            devices.iter().map(|device| device["problem"].as_str().unwrap_or_default().to_owned()).collect();
        let lost = "the GPU is lost: it fell off the bus; restart the machine";
        let denied = "its processes: no permission to ask";
        assert_eq!(
            problems,
            ["", "", lost, lost, "", "", "", denied, "its memory: the driver does not tell for this GPU"]
        );
    }

    #[test]
    fn memory_is_what_the_driver_says_apart_from_what_it_keeps() {
        let found = installed("cards", false);
        let memory = |index: usize| {
            ["total_bytes", "reserved_bytes", "used_bytes", "free_bytes"]
                .map(|field| found["devices"][index][field].as_u64().map(|bytes| bytes / MIB))
        };
        assert_eq!(memory(0), [24_564, 347, 3072, 21_145].map(Some));
        // the second is full
        assert_eq!(memory(1), [24_564, 347, 24_217, 0].map(Some));
        assert_eq!(memory(2), [None; 4]);
        assert_eq!(memory(7), [81_559, 551, 4, 81_004].map(Some));
    }

    #[test]
    fn processes_are_listed_once_with_what_they_hold() {
        let found = installed("cards", false);
        let processes = found["devices"][0]["processes"].clone();
        // 4242 draws too; what 77 holds the driver does not say
        assert_eq!(
            processes,
            serde_json::json!([{"pid": 77, "used_bytes": null}, {"pid": 4242, "used_bytes": 2900 * MIB}])
        );
    }

    #[test]
    fn slices_are_devices_and_the_gpu_they_are_cut_from_is_none() {
        let found = installed("cards", false);
        let devices = found["devices"].as_array().unwrap();
        let mig: Vec<Value> = devices[4..7].iter().map(|device| device["mig"].clone()).collect();
        let slice = |profile: &str| serde_json::json!({"kind": "slice", "profile": profile});
        assert_eq!(mig, [serde_json::json!({"kind": "parent"}), slice("3g.20gb"), slice("1g.5gb")]);
        assert_eq!(devices[6]["free_bytes"], 864 * MIB);
        assert_eq!(devices[6]["compute_capability"], "8.0");
    }

    #[test]
    fn drivers_that_do_not_answer_are_no_error() {
        for (kind, says) in [
            ("not-loaded", "no NVIDIA driver: its library is there and it is not loaded"),
            ("none", "the driver runs and has no GPU"),
            ("mismatch", "different versions"),
            ("count-denied", "no permission"),
        ] {
            let found = installed(kind, false);
            assert!(found["problem"].as_str().unwrap().contains(says), "{kind}: {found}");
            assert_eq!(found["devices"].as_array().unwrap().len(), 0, "{kind}");
        }
    }

    #[test]
    fn a_count_that_cannot_be_ends() {
        let found = installed("many", false);
        assert_eq!(found["devices"].as_array().unwrap().len(), 256);
    }

    #[test]
    fn an_older_driver_says_so_for_each_card() {
        let found = installed("cards", true);
        let first = &found["devices"][0];
        assert_eq!((first["gpu"].as_str(), &first["total_bytes"]), (Some("rtx-4090"), &Value::Null));
        assert!(first["problem"].as_str().unwrap().contains("older than 510"), "{first}");
    }

    /// nvidia-smi comes with such a driver.
    #[test]
    fn an_older_driver_is_asked_through_nvidia_smi() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nvidia-smi");
        let printed = "<nvidia_smi_log><gpu><product_name>NVIDIA GeForce RTX 4090</product_name><uuid>GPU-1</uuid>\
                       <fb_memory_usage><total>24268 MiB</total><used>100 MiB</used><free>24168 MiB</free></fb_memory_usage>\
                       </gpu></nvidia_smi_log>";
        std::fs::write(&program, format!("#!/bin/sh\nprintf '%s' '{printed}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = json(machine("cards", true, &["gpus", "--json"]).env("PATH", folder.path()))["installed"].take();
        let devices = found["devices"].as_array().unwrap();
        assert_eq!(devices[1]["total_bytes"], 24_268 * MIB);
        assert_eq!((&devices[1]["problem"], &devices[1]["reserved_bytes"]), (&Value::Null, &Value::Null));
        assert_eq!(devices[0]["total_bytes"], Value::Null);
    }

    #[test]
    fn the_table_names_them() {
        let output = machine("cards", false, &["gpus"]).assert().success().get_output().stdout.clone();
        let text = String::from_utf8(output).unwrap();
        assert!(text.contains("4 A100-SXM4-40GB MIG 3g.20gb"), "{text}");
        assert!(text.contains("slice of a100-sxm4-40gb") && text.contains("cut into slices"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}

mod nvidia_smi {
    use super::*;

    #[test]
    fn a_machine_as_it_prints_it() {
        let inventory = Inventory::from_text(&fixture("nvidia-smi.xml")).unwrap();
        assert_eq!((inventory.origin, inventory.driver_version.as_deref()), (Origin::NvidiaSmi, Some("535.129.03")));
        let gpus: Vec<_> = inventory.devices.iter().map(|device| device.gpu.map(|gpu| gpu.slug.as_str())).collect();
        assert_eq!(gpus, [Some("rtx-4090"), Some("a100-sxm4-40gb"), Some("a100-sxm4-40gb"), Some("rtx-4090"), None]);
        let [whole, parent, slice, lost, _] = inventory.devices.as_slice() else { panic!("{inventory:?}") };
        assert_eq!(whole.total, Some(Bytes::from_mib(24_564)));
        assert_eq!(whole.reserved, Some(Bytes::from_mib(347)));
        // the name of a process is nobody's business, its number and memory are
        assert_eq!(whole.processes[0].used, Some(Bytes::from_mib(2900)));
        assert_eq!((&parent.mig, parent.ecc_enabled), (&Mig::Parent, Some(true)));
        assert_eq!((slice.total, &slice.mig), (Some(Bytes::from_mib(20_096)), &Mig::Slice { profile: None }));
        assert_eq!(lost.problem.as_deref(), Some("its memory: nvidia-smi prints `Unknown Error`"));
        let usable: Vec<_> = inventory.usable().map(|device| device.index).collect();
        assert_eq!(usable, [Some(0), Some(1)]);
    }

    /// The entities that are made of entities never come to be.
    #[test]
    fn entities_are_refused() {
        let mut bomb = String::from("<!DOCTYPE nvidia_smi_log [<!ENTITY a \"ha\">");
        for (of, name) in ('a'..'j').zip('b'..'k') {
            bomb += &format!("<!ENTITY {name} \"{}\">", format!("&{of};").repeat(10));
        }
        bomb += "]><nvidia_smi_log><driver_version>&j;</driver_version></nvidia_smi_log>";
        let error = Inventory::from_text(&bomb).unwrap_err().to_string();
        assert_eq!(error, "XML: it declares entities, which nvidia-smi does not");
    }

    #[test]
    fn what_is_no_such_output_is_refused() {
        for (text, says) in [
            ("<html><body/></html>", "XML: <html> is not what `nvidia-smi -q -x` prints"),
            ("<nvidia_smi_log>", "XML: "),
            ("<", "XML: "),
            ("<nvidia_smi_log><!ENTITY", "entities"),
        ] {
            let error = Inventory::from_text(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = "<a>".repeat(1_000_000);
        assert!(Inventory::from_text(&deep).is_err());
        let sizes = "<nvidia_smi_log><gpu><fb_memory_usage><total>99999999999999999999 MiB</total></fb_memory_usage></gpu></nvidia_smi_log>";
        assert_eq!(Inventory::from_text(sizes).unwrap().usable().count(), 0);
    }
}

mod kubernetes {
    use super::*;

    #[test]
    fn a_cluster_as_kubectl_prints_it() {
        let inventory = Inventory::from_text(&fixture("nodes.json")).unwrap();
        let found: Vec<_> = inventory
            .devices
            .iter()
            .map(|device| {
                let gpu = device.gpu.map_or("", |gpu| gpu.slug.as_str());
                let mib = device.total.map_or(0, |total| total.0 >> 20);
                (device.node.as_deref().unwrap_or_default(), gpu, device.count, mib, device.shared_by)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("whole", "a100-sxm4-80gb", 8, 81_920, 1),
                // one GPU in four for pods that take turns, one of three kept by the node
                ("time-slicing", "t4", 2, 15_360, 4),
                // a pod under MPS has its share
                ("mps", "l4", 8, 23_034 / 4, 1),
                ("single", "a100-sxm4-40gb", 2, 20_096, 1),
                // all but one GPU are cut: what is left whole, and slices of two sizes
                ("mixed", "a100-sxm4-40gb", 1, 40_960, 1),
                ("mixed", "a100-sxm4-40gb", 7, 4864, 1),
                ("mixed", "a100-sxm4-40gb", 2, 20_096, 1),
            ]
        );
        assert_eq!(inventory.devices[3].mig, Mig::Slice { profile: Some("3g.20gb".to_owned()) });
        assert!(inventory.problem.unwrap().starts_with("1 nodes have GPUs and no labels that say which, unlabelled"));
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        let node = |labels: &str| {
            format!(
                r#"{{"items":[{{"metadata":{{"name":"n","labels":{{"nvidia.com/gpu.product":"T4",{labels}}}}}}}]}}"#
            )
        };
        for (text, says) in [
            ("{}".to_owned(), "JSON: it has no `items`"),
            (r#"{"items":3}"#.to_owned(), "JSON: items: invalid type: integer `3`, expected a list of nodes"),
            ("{\"items\":[".to_owned(), "JSON: "),
            (
                node(r#""nvidia.com/gpu.count":"many""#),
                "node n: label nvidia.com/gpu.count is `many`: give a whole number",
            ),
            (node(r#""nvidia.com/gpu.count":"99999999999""#), "nvidia.com/gpu.count is `99999999999`"),
            (
                node(r#""nvidia.com/gpu.count":"1","nvidia.com/gpu.memory":"18446744073709551615""#),
                "nvidia.com/gpu.memory",
            ),
            (node(r#""nvidia.com/gpu.count":1"#), "expected a string"),
        ] {
            let error = Inventory::from_text(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let none = Inventory::from_text(r#"{"items":[{"metadata":{"name":"n"}}]}"#).unwrap();
        assert_eq!(none.problem.as_deref(), Some("none of 1 nodes offers an NVIDIA GPU"));
    }
}

mod list {
    use super::*;

    #[test]
    fn names_counts_and_what_is_used() {
        let inventory = Inventory::from_text(&fixture("gpus.toml")).unwrap();
        let [known, own, larger] = inventory.devices.as_slice() else { panic!("{inventory:?}") };
        assert_eq!((known.gpu.map(|gpu| gpu.slug.as_str()), known.count), (Some("rtx-4090"), 2));
        assert_eq!(known.free, Some(Bytes::from_mib(24_564 - 3 * 1024)));
        assert_eq!((own.gpu, own.total, own.node.as_deref()), (None, Some(Bytes::from_gib(40)), Some("gpu-07")));
        // of the two cards of that name it is the one with that memory
        assert_eq!(larger.gpu.map(|gpu| gpu.slug.as_str()), Some("rtx-4060-ti-16gb"));
    }

    #[test]
    fn errors_name_the_entry_its_value_and_the_fix() {
        for (text, says) in [
            ("[[gpu]]\nname = \"rtx-4091\"", "gpu[0].name: no GPU is called `rtx-4091`; did you mean rtx-4090"),
            ("[[gpu]]\nname = \"a100\"", "a100-sxm4-80gb (80.00 GiB); name one; or give its memory"),
            ("[[gpu]]\nname = \"t4\"\n[[gpu]]\nname = \"t4\"\ncount = 0", "gpu[1].count = 0: give a number from 1"),
            ("[[gpu]]\nname = \"t4\"\nused = \"20GiB\"", "gpu[0].used = 20.00 GiB: it has 15.00 GiB"),
            ("[[gpu]]\nname = \"t4\"\nmemory = \"big\"", "gpu[0].memory: size `big`"),
            ("[[gpu]]\nname = \"t4\"\nmemory = 0", "gpu[0].memory = 0"),
            ("[[gpu]]\nname = \"t4\"\n\ncuont = 2", "line 4: unknown field `cuont`"),
            ("gpu = 3", "line 1: invalid type"),
            ("hello", "line 1: "),
            ("", "it is empty"),
        ] {
            let error = Inventory::from_text(text).unwrap_err().to_string();
            assert!(error.contains(says) && error.lines().count() == 1, "{text}: {error}");
        }
    }

    #[test]
    fn the_command_says_it_in_one_line() {
        let run = vramplan(&["gpus", "--gpus-from", "-"]).write_stdin("[[gpu]]\nname = \"t5\"\n").assert();
        let output = run.code(2).stdout("").get_output().stderr.clone();
        let text = String::from_utf8(output).unwrap();
        assert!(text.starts_with("error: standard input: gpu[0].name: no GPU is called `t5`"), "{text}");
        vramplan(&["gpus", "--gpus-from", "no/such"]).assert().code(2).stdout("");
        vramplan(&["gpus", "no-such-gpu"])
            .assert()
            .code(2)
            .stdout("")
            .stderr("error: no GPU's name, class or architecture contains `no-such-gpu`; `vramplan gpus` lists all\n");
    }
}

#[test]
fn own_prices_are_beside_the_built_in_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prices.csv");
    let header = "cloud,gpu_slug,gpu_count,price_per_hour_usd,snapshot_date\n";
    std::fs::write(&path, format!("{header}ours,RTX 4090,2,0.02,2026-11-25\n")).unwrap();
    let answer = json(&mut vramplan(&["gpus", "rtx-4090", "--json", "--prices", path.to_str().unwrap()]));
    let card = answer["gpus"].as_array().unwrap().iter().find(|gpu| gpu["slug"] == "rtx-4090").unwrap();
    let prices = card["prices"].as_array().unwrap();
    let of = |cloud: &str| prices.iter().find(|price| price["cloud"] == cloud).unwrap();
    assert_eq!((&of("ours")["usd_per_hour"], &of("ours")["snapshot_date"]), (&0.02.into(), &"2026-11-25".into()));
    let builtin = Prices::builtin().cheapest(vramplan::hardware::find("rtx-4090").unwrap(), 1).len();
    assert!(prices.len() == builtin + 1 && prices.iter().all(|price| price["snapshot_date"].is_string()));
    std::fs::write(&path, format!("{header}ours,t4,1,cheap,2026-11-25\n")).unwrap();
    let run = vramplan(&["gpus", "--prices", path.to_str().unwrap()]).assert().code(2).stdout("");
    let error = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(error.contains("prices.csv: line 2: column price_per_hour_usd is `cheap`"), "{error}");
}

/// Pieces that texts of the three kinds are made of, and what breaks them.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "<nvidia_smi_log>",
            "</nvidia_smi_log>",
            "<gpu>",
            "</gpu>",
            "<fb_memory_usage>",
            "<total>",
            "24564 MiB",
            "18446744073709551615 MiB",
            "<!DOCTYPE a [",
            "<!ENTITY a \"&a;\">",
            "]>",
            "&a;",
            "<![CDATA[",
            "-->",
            "<?xml",
            "<mig_devices>",
            "<mig_device>",
            "<uuid>",
            "{",
            "}",
            "\"items\":[",
            "]",
            "\"metadata\":{",
            "\"labels\":{",
            "\"nvidia.com/gpu.product\":\"T4\"",
            "\"nvidia.com/gpu.memory\":\"18446744073709551615\"",
            "\"nvidia.com/mig-1g.5gb.product\":\"A100-MIG-1g.5gb\"",
            "\"nvidia.com/gpu.replicas\":\"0\"",
            "\"nvidia.com/gpu.sharing-strategy\":\"mps\"",
            "\"status\":{\"allocatable\":{\"nvidia.com/gpu\":\"8\"}}",
            ",",
            ":",
            "[[gpu]]\n",
            "name = \"t4\"\n",
            "count = 9223372036854775807\n",
            "memory = \"9e18\"\n",
            "used = \"1TiB\"\n",
            "\0",
            "\u{feff}",
            "cloud,gpu_slug,gpu_count,price_per_hour_usd,snapshot_date\n",
            "x,t4,1,1e999,2026\n",
            "\"\"\"",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(pieces in prop::collection::vec(piece(), 0..24)) {
        let text = pieces.concat();
        if let Ok(inventory) = Inventory::from_text(&text) {
            prop_assert!(inventory.usable().all(|device| device.total.is_some()));
            prop_assert!(serde_json::to_string(&inventory).is_ok());
        }
        let _ = Prices::from_csv(text.as_bytes());
    }
}
