//! `vramplan measure` with NVIDIA's library as a stand-in plays it, and without it.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod closed;
#[cfg(all(target_os = "linux", feature = "nvml"))]
#[path = "stand_in/mod.rs"]
mod nvml;

use std::time::{Duration, Instant};

use closed::holds;
use serde_json::Value;

fn measure(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("vramplan").unwrap();
    command.env_remove("COLUMNS").arg("measure").args(arguments);
    command
}

/// Standard error, and that the exit code is `code`.
#[track_caller]
fn says(command: &mut assert_cmd::Command, code: i32) -> String {
    let output = command.assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

mod the_command {
    use super::*;

    #[test]
    fn keeps_its_streams_and_its_exit_code() {
        let script = "read word; echo \"out $word\"; echo \"err $word\" >&2; exit 7";
        let output = measure(&["--", "sh", "-c", script])
            .write_stdin("hello\n")
            .assert()
            .code(7)
            .stdout("out hello\n")
            .get_output()
            .clone();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("err hello\n") && error.contains("exit code 7"), "{error}");
    }

    #[test]
    fn that_a_signal_ends_has_the_code_a_shell_gives_it() {
        for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
            let error = says(&mut measure(&["--", "sh", "-c", &format!("kill -{signal} $$")]), code);
            assert!(error.contains(&format!("ended by signal {}", code - 128)), "{error}");
        }
    }

    #[test]
    fn that_cannot_be_run_is_one_clear_error() {
        let last = |command: &mut assert_cmd::Command, code| says(command, code).lines().last().unwrap().to_owned();
        assert_eq!(
            last(&mut measure(&["--", "no-such-command-here"]), 127),
            "error: no-such-command-here: no such command; what comes after -- is run as it is, without a shell"
        );
        let line = last(&mut measure(&["--", env!("CARGO_MANIFEST_DIR")]), 126);
        assert!(line.starts_with(&format!("error: {}: it cannot be run: ", env!("CARGO_MANIFEST_DIR"))), "{line}");
    }

    #[test]
    fn comes_after_two_dashes() {
        let how = "the command to run comes after --, as in `vramplan measure llama-2-7b -- python train.py`\n";
        for (arguments, what) in
            [(&["tinyllama-1.1b"][..], "no command"), (&["python", "train.py"], "unexpected argument 'train.py' found")]
        {
            assert_eq!(says(&mut measure(arguments), 2), format!("error: {what}; {how}"));
        }
    }

    #[test]
    fn is_not_run_where_the_job_or_the_files_are_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let ran = folder.path().join("ran").display().to_string();
        for (arguments, line) in [
            (
                "--lora",
                "error: no model; name one, as in `vramplan estimate llama-2-7b`, or give a job file that does\n",
            ),
            ("--job -", "error: --job -: standard input is the command's; give a file\n"),
            ("--save rows.jsonl", "error: --save: a line is of a job; name its model, or give --job or --from\n"),
            (
                "--output /nowhere/at/all",
                "error: /nowhere/at/all: No such file or directory (os error 2) at path \"/nowhere/at/",
            ),
            (
                "tinyllama-1.1b --save /nowhere/at/all",
                "error: /nowhere/at/all: No such file or directory (os error 2)\n",
            ),
        ] {
            let words: Vec<&str> = arguments.split_whitespace().chain(["--", "touch", &ran]).collect();
            let error = says(&mut measure(&words), 2);
            assert!(error.starts_with(line), "{arguments}: {error}");
        }
        assert!(!folder.path().join("ran").exists());
    }

    /// Whatever it leaves behind is not waited for.
    #[test]
    fn is_not_outlived_by_the_report() {
        let begun = Instant::now();
        says(&mut measure(&["--", "sh", "-c", "sleep 20 >/dev/null 2>&1 & exit 5"]), 5);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

mod signals {
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    fn start(script: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
        command.args(["measure", "--", "sh", "-c", script]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits for the script to say so.
    fn ready(child: &mut Child) {
        let mut byte = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    }

    #[test]
    fn reach_the_command_and_the_report_comes_all_the_same() {
        // not INT and HUP: whoever runs the tests in the background has them ignored, and so they stay
        for signal in ["TERM", "USR1", "USR2"] {
            let mut child = start(&format!("trap 'exit 42' {signal}; echo; while :; do sleep 0.05; done"));
            ready(&mut child);
            let id = child.id().to_string();
            assert!(Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().unwrap().success());
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(42), "{signal}: {error}");
            assert!(error.contains("Measured: exit code 42"), "{signal}: {error}");
        }
    }

    /// As after nohup.
    #[test]
    fn that_are_ignored_stay_so() {
        let vramplan = env!("CARGO_BIN_EXE_vramplan");
        let script = format!("trap '' HUP; exec {vramplan} measure -- sh -c 'kill -HUP $$; exit 7'");
        let status = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(7));
    }
}

#[test]
fn a_report_may_go_to_what_is_no_file() {
    let output = measure(&["--json", "--output", "/dev/stdout", "--", "echo", "first"]).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    holds("measure", text.strip_prefix("first\n").unwrap());
}

/// Where this machine has a driver there is nothing to test.
#[test]
fn without_a_driver_the_command_runs_and_it_is_said() {
    if vramplan::hardware::nvml::detect().driver_version.is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let words =
        ["tinyllama-1.1b", "--lora", "--json", "--output", report.to_str().unwrap(), "--", "sh", "-c", "exit 4"];
    let error = says(&mut measure(&words), 4);
    assert!(error.starts_with("warning: no GPU is measured: "), "{error}");
    let text = std::fs::read_to_string(&report).unwrap();
    holds("measure", &text);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["ended"]["exit_code"], &report["comparison"]["measured_bytes"]), (&4.into(), &Value::Null));
    assert!(report["problem"].is_string());
    let ran = folder.path().join("ran");
    let error = says(&mut measure(&["--require-gpu", "--", "touch", ran.to_str().unwrap()]), 3);
    assert!(error.starts_with("error: --require-gpu: "), "{error}");
    assert!(!ran.exists());
}

#[cfg(all(target_os = "linux", feature = "nvml"))]
mod stand_in {
    use std::path::PathBuf;

    use super::*;
    use crate::nvml::library;

    const MIB: u64 = 1 << 20;

    /// A machine whose GPUs do what the script says, which the command writes to `$GPUS`.
    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn new(before: &str) -> Self {
            let machine = Self { folder: tempfile::tempdir().unwrap() };
            std::fs::write(machine.path("gpus"), before).unwrap();
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn command(&self, flags: &str, script: &str) -> assert_cmd::Command {
            let report = self.path("report.json").display().to_string();
            let own = ["--json", "--interval", "5", "--output", &report];
            let words: Vec<&str> =
                own.into_iter().chain(flags.split_whitespace()).chain(["--", "sh", "-c", script]).collect();
            let mut command = measure(&words);
            command.env("LD_LIBRARY_PATH", library("nvml", false)).env("STAND_IN", "script");
            command.env("STAND_IN_SCRIPT", self.path("gpus")).env("GPUS", self.path("gpus"));
            command
        }

        /// The report of a command that is to succeed.
        #[track_caller]
        fn run(&self, flags: &str, script: &str) -> Value {
            self.command(flags, script).assert().success().stderr("");
            self.report()
        }

        #[track_caller]
        fn report(&self) -> Value {
            let text = std::fs::read_to_string(self.path("report.json")).unwrap();
            holds("measure", &text);
            serde_json::from_str(&text).unwrap()
        }
    }

    /// GPU, basis and peak in MiB of each GPU that was used.
    fn peaks(report: &Value) -> Vec<(u64, String, u64)> {
        let gpus = report["gpus"].as_array().unwrap().iter();
        let peak = |gpu: &Value| {
            let basis = gpu["basis"].as_str().unwrap().to_owned();
            (gpu["index"].as_u64().unwrap(), basis, gpu["peak_bytes"].as_u64().unwrap() / MIB)
        };
        gpus.map(peak).collect()
    }

    fn processes(index: u64, mib: u64) -> (u64, String, u64) {
        (index, "processes".to_owned(), mib)
    }

    fn card(index: u64, mib: u64) -> (u64, String, u64) {
        (index, "card".to_owned(), mib)
    }

    #[test]
    fn the_peak_of_a_process_is_kept_with_when_it_was() {
        // 1 is another's
        let machine = Machine::new("0 pid 1 5000\n");
        let others = "echo 0 pid 1 5000";
        let report = machine.run(
            "",
            &format!(
                "hold() {{ {{ {others}; echo 1 pid $$ $1; }} > $GPUS.new; mv $GPUS.new $GPUS; sleep 0.2; }}
                 hold 1000; hold 3000; hold 2000"
            ),
        );
        assert_eq!(peaks(&report), [processes(1, 3000)]);
        let gpu = &report["gpus"][0];
        assert_eq!(report["peak"], serde_json::json!({"index": 1, "bytes": 3000 * MIB}));
        assert_eq!(gpu["processes"][0]["peak_bytes"], 3000 * MIB);
        let at = gpu["peak_seconds"].as_f64().unwrap();
        assert!(at > 0.15 && at < report["seconds"].as_f64().unwrap() - 0.15, "{report}");
        // about a third of the time each
        let mean = gpu["mean_bytes"].as_u64().unwrap() / MIB;
        assert!((1300..=2700).contains(&mean), "{mean}");
        let timeline: Vec<u64> =
            gpu["timeline"].as_array().unwrap().iter().map(|point| point["bytes"].as_u64().unwrap() / MIB).collect();
        let mut levels = timeline.clone();
        levels.dedup();
        assert!(levels.ends_with(&[1000, 3000, 2000]), "{timeline:?}");
        assert!(timeline.len() <= 256);
    }

    #[test]
    fn descendants_are_the_commands_and_so_are_those_it_lost() {
        let machine = Machine::new("");
        let report = machine.run(
            "",
            "echo 0 pid $$ 500 >> $GPUS
             sh -c 'echo 0 pid $$ 300 >> $GPUS; sleep 0.6' &
             (setsid sh -c 'echo 0 pid $$ 40 >> $GPUS; echo 2 pid $$ 7 >> $GPUS; sleep 0.6' > /dev/null 2>&1 &)
             sleep 0.4",
        );
        assert_eq!(peaks(&report), [processes(0, 840), processes(2, 7)]);
        assert_eq!(report["gpus"][0]["processes"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn where_processes_have_no_figure_it_is_the_cards_and_said() {
        let machine = Machine::new("0 used 700\n");
        let report = machine.run("", "echo 0 pid $$ - >> $GPUS; echo 0 used 1000 >> $GPUS; sleep 0.2");
        assert_eq!(peaks(&report), [card(0, 1000)]);
        assert_eq!(report["gpus"][0]["card_used_before_bytes"], 700 * MIB);
        assert_eq!(report["gpus"][0]["card_peak_bytes"], 1700 * MIB);
        assert!(report["notes"][0].as_str().unwrap().contains("does not say what each process holds"), "{report}");
    }

    /// In a container processes have numbers from outside, or are not listed.
    #[test]
    fn where_processes_are_not_listed_it_is_the_cards_and_said() {
        for lines in ["echo 1 pid 4194999 900", "echo 1 used 900"] {
            let machine = Machine::new("1 used 100\n");
            let report = machine.run("", &format!("{lines} >> $GPUS; sleep 0.2"));
            assert_eq!(peaks(&report), [card(1, 900)], "{lines}");
            assert!(report["notes"][0].as_str().unwrap().contains("lists no process of the command"), "{report}");
        }
    }

    #[test]
    fn who_else_comes_to_a_gpu_is_not_counted() {
        let machine = Machine::new("");
        let other = std::process::id();
        let report = machine.run("", &format!("echo 0 pid {other} 900 >> $GPUS; sleep 0.2"));
        assert_eq!(peaks(&report), []);
        assert_eq!(report["peak"], Value::Null);
    }

    #[test]
    fn a_card_that_is_lost_leaves_what_was_measured() {
        let machine = Machine::new("");
        let rows = machine.path("rows.jsonl");
        let flags = format!("tinyllama-1.1b --lora --save {}", rows.display());
        let report = machine.run(&flags, "echo 0 pid $$ 900 >> $GPUS; sleep 0.2; echo 0 lost >> $GPUS; sleep 0.2");
        assert_eq!(peaks(&report), [processes(0, 900)]);
        assert!(report["gpus"][0]["problem"].as_str().unwrap().contains("lost"), "{report}");
        assert!(report["saved"]["problem"].as_str().unwrap().contains("did not answer throughout"), "{report}");
        assert!(!rows.exists());
    }

    #[test]
    fn a_driver_that_stops_answering_keeps_nobody() {
        let machine = Machine::new("");
        let begun = Instant::now();
        machine
            .command("", "echo 0 pid $$ 900 >> $GPUS; sleep 0.3; echo hangs > $GPUS; sleep 0.2; exit 9")
            .assert()
            .code(9);
        assert!(begun.elapsed() < Duration::from_secs(8));
        let report = machine.report();
        assert_eq!(peaks(&report), [processes(0, 900)]);
        assert!(report["notes"][0].as_str().unwrap().starts_with("the driver stopped answering"), "{report}");
    }

    #[test]
    fn a_driver_that_never_answers_keeps_the_command_for_a_while_alone() {
        let machine = Machine::new("");
        let begun = Instant::now();
        machine.command("", "exit 9").env("STAND_IN", "hangs").assert().code(9);
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(machine.report()["problem"].as_str().unwrap().contains("does not answer within"));
    }

    #[test]
    fn only_the_gpus_that_were_asked_for() {
        let machine = Machine::new("");
        let script = "echo 0 pid $$ 900 >> $GPUS; echo 1 pid $$ 800 >> $GPUS; sleep 0.2";
        assert_eq!(peaks(&machine.run("", script)), [processes(0, 900), processes(1, 800)]);
        let machine = Machine::new("");
        assert_eq!(peaks(&machine.run("--gpu 1", script)), [processes(1, 800)]);
        let error = says(&mut machine.command("--gpu 1,7", script), 2);
        assert_eq!(error, "error: --gpu 7: the driver has no such GPU; it has 0, 1, 2\n");
    }

    #[test]
    fn a_gpu_that_says_nothing_from_the_first_is_a_warning_and_slices_are_read() {
        let machine = Machine::new("");
        let lost = says(machine.command("--gpu 2", "exit 4").env("STAND_IN", "cards"), 4);
        assert!(lost.starts_with("warning: no GPU is measured: GPU 2: the GPU is lost"), "{lost}");
        assert_eq!(machine.report()["notes"], serde_json::json!([]));
        // one that is cut into slices
        machine.command("--gpu 4", "exit 4").env("STAND_IN", "cards").assert().code(4).stderr("");
        assert_eq!((&machine.report()["problem"], &machine.report()["notes"]), (&Value::Null, &serde_json::json!([])));
        let whole =
            machine.command("", "exit 4").env("STAND_IN", "cards").assert().code(4).stderr("").get_output().clone();
        assert!(whole.stdout.is_empty());
        assert!(machine.report()["notes"][0].as_str().unwrap().starts_with("GPU 2: the GPU is lost"));
        let error = says(machine.command("--require-gpu", "exit 4").env("STAND_IN", "none"), 3);
        assert_eq!(error, "error: --require-gpu: the driver runs and has no GPU\n");
    }

    /// What `estimate` says, and what is measured, on both sides of it.
    #[test]
    fn the_estimate_is_beside_the_measurement_with_their_difference() {
        let job = "tinyllama-1.1b --lora --seq 256";
        let mut estimate = assert_cmd::Command::cargo_bin("vramplan").unwrap();
        let words = job.split_whitespace();
        let printed = estimate.arg("estimate").args(words).arg("--json").assert().success().get_output().stdout.clone();
        let printed: Value = serde_json::from_slice(&printed).unwrap();
        let device = printed["peak"]["device_bytes"].as_u64().unwrap();
        for (mib, under) in [(20_000, "estimate"), (100, "measurement")] {
            let machine = Machine::new("");
            let report = machine.run(job, &format!("echo 0 pid $$ {mib} > $GPUS; sleep 0.2"));
            let compared = &report["comparison"];
            assert_eq!(compared["estimated"]["device_bytes"], device);
            assert_eq!(compared["estimated"]["reserved_bytes"], printed["peak"]["reserved_bytes"]);
            assert_eq!(compared["measured_bytes"], mib * MIB);
            let difference = i64::try_from(device).unwrap() - i64::try_from(mib * MIB).unwrap();
            assert_eq!(compared["difference_bytes"], difference);
            assert_eq!(compared["under"], under);
            assert_eq!(compared["difference_percent"].as_f64().unwrap() < 0.0, under == "estimate");
        }
    }

    #[test]
    fn people_are_told_when_the_estimate_is_under() {
        let machine = Machine::new("");
        let mut command =
            measure(&["tinyllama-1.1b", "--lora", "--", "sh", "-c", "echo 1 pid $$ 20000 > $GPUS; sleep 0.4"]);
        command.env("LD_LIBRARY_PATH", library("nvml", false)).env("STAND_IN", "script");
        command.env("STAND_IN_SCRIPT", machine.path("gpus")).env("GPUS", machine.path("gpus"));
        let text = says(&mut command, 0);
        assert!(text.contains("THE ESTIMATE IS UNDER the measurement: by "), "{text}");
        assert!(text.contains("1 GeForce RTX 4090"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_line_is_saved_of_a_run_that_ended_well() {
        let machine = Machine::new("");
        let rows = machine.path("rows.jsonl");
        let flags = format!("tinyllama-1.1b --lora --save {}", rows.display());
        let hold = "echo 0 pid $$ 900 > $GPUS; sleep 0.2";
        machine.run(&flags, hold);
        machine.command(&flags, &format!("{hold}; exit 1")).assert().code(1);
        assert_eq!(machine.report()["saved"]["problem"], "the command did not end with 0");
        machine.run(&flags, hold);
        let text = std::fs::read_to_string(&rows).unwrap();
        assert_eq!((text.lines().count(), text.ends_with('\n')), (2, true));
        for line in text.lines() {
            holds("measurement", line);
            let row: Value = serde_json::from_str(line).unwrap();
            assert_eq!(row["measured"]["device_peak_bytes"], 900 * MIB);
            assert_eq!(
                (&row["driver_version"], &row["gpu"]["name"]),
                (&"570.86.15".into(), &"NVIDIA GeForce RTX 4090".into())
            );
            // the job is one that can be asked again
            let job = row["job"].to_string();
            let mut estimate = assert_cmd::Command::cargo_bin("vramplan").unwrap();
            let again = estimate.args(["estimate", "--job", "-", "--json"]).write_stdin(job).assert().success();
            let again: Value = serde_json::from_slice(&again.get_output().stdout).unwrap();
            assert_eq!(again["peak"]["reserved_bytes"], row["estimated"]["reserved_bytes"]);
        }
    }
}
