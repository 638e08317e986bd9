//! The answer as JUnit's XML, which CI systems show as tests.

use quick_junit::{NonSuccessKind, Report as Tests, TestCase, TestCaseStatus, TestSuite};

use super::super::error::CliError;
use super::Report;
use super::job::{Checked, Status};
use super::{since, words};

pub(super) fn report(report: &Report) -> Result<String, CliError> {
    let mut tests = Tests::new("vramplan");
    let mut suite = TestSuite::new(report.file.display().to_string());
    suite.add_test_cases(report.jobs.iter().map(case));
    tests.add_test_suite(suite);
    if let Some(since) = report.since.as_ref().filter(|since| since.locked) {
        let mut suite = TestSuite::new(since.path.display().to_string());
        for difference in &since.differences {
            let told = since::told(difference);
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type("changed").set_message(told.headline).set_description(told.reasons.join("\n"));
            suite.add_test_case(TestCase::new(difference.job.as_str(), status));
        }
        if since.differences.is_empty() {
            suite.add_test_case(TestCase::new("unchanged", TestCaseStatus::success()));
        }
        tests.add_test_suite(suite);
    }
    tests.to_string().map_err(|error| CliError::Usage(format!("--junit: {error}")))
}

fn case(job: &Checked) -> TestCase {
    let failed = |kind, word: &str| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_type(word).set_message(words::reason(job).unwrap_or_default());
        status
    };
    let status = match job.status {
        Status::Ok => TestCaseStatus::success(),
        Status::Tight => failed(NonSuccessKind::Failure, "tight"),
        Status::Over => failed(NonSuccessKind::Failure, "over"),
        Status::Unknown => failed(NonSuccessKind::Error, "unknown"),
        Status::Failed => failed(NonSuccessKind::Error, "error"),
    };
    let mut case = TestCase::new(job.name.as_str(), status);
    case.set_classname("vramplan.check");
    if let Some(judgement) = job.judgement() {
        case.set_system_out(format!("{}: {} of {}", words::limit(job), judgement.device_bytes, judgement.limit_bytes));
    }
    case
}
