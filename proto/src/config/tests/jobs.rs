//! `[[job]]`: what is accepted, and where errors point.

use super::*;

/// What jobs are for: a group with roles, one on every node, and one without.
fn groups() -> String {
    format!("{COPY}{WEB}{}", group("app", "", UNIT))
}

fn job(keys: &str) -> String {
    let base = "[[job]]\nname = \"backup\"\ncalendar = \"30 2 * * *\"\ncommand = [\"/bin/backup\", \"-v\"]\n";
    format!("{base}{keys}\n")
}

fn accepted(keys: &str) -> Config {
    parsed(&format!("{}{}", groups(), job(keys)))
}

/// The only error, with its line counted from `[[job]]`.
#[track_caller]
fn refused(job: &str) -> String {
    error_behind(&format!("{BASE}{}", groups()), job)
}

#[test]
fn a_job_has_defaults_and_takes_what_is_said() {
    let config = accepted("group = \"app\"");
    let plain = config.job("backup").expect("the job");
    assert_eq!((plain.on, plain.timezone.as_str()), (JobWhere::Primary, "UTC"));
    assert_eq!(plain.command, "/bin/backup\n-v");
    assert_eq!((plain.timeout_ms, plain.catch_up_ms), (3_600_000, 60_000));
    assert_eq!((plain.user.as_str(), plain.cwd.as_str()), ("", "/"));
    let keys = "group = \"data\"\non = \"replica\"\ntimezone = \"Europe/Berlin\"\nuser = \"backup\"\ncwd = \"/srv\"\n\
                env = { A = \"1\" }\ntimeout = \"6h\"\nmax_lag = \"30s\"\nfallback = \"primary\"\ncatch_up = \"12h\"\n\
                on_interrupt = \"rerun\"\non_move = \"kill\"";
    let config = accepted(keys);
    let full = &config.jobs[0];
    assert_eq!(
        (full.on, full.fallback),
        (JobWhere::Replica, JobFallback::Primary)
    );
    assert_eq!(
        (full.on_interrupt, full.on_move),
        (JobInterrupted::Rerun, JobMoved::Kill)
    );
    assert_eq!((full.max_lag_ms, full.env.as_str()), (30_000, "A=1"));
}

#[test]
fn what_is_wrong_with_a_job_is_pointed_at() {
    assert_eq!(
        refused(&job("group = \"app\"").replace("30 2 * * *", "30 25 * * *")),
        "3:12: `calendar` is wrong: \"25\" as hour: it is none | 0 to 23"
    );
    assert_eq!(
        refused(&job("group = \"apq\"")),
        "5:9: there is no group \"apq\" | did you mean `app`?"
    );
    assert_eq!(
        refused(&job("group = \"app\"\non = \"replica\"")),
        "6:6: app has no replicas: none of its resources has roles | write on = \"primary\" for the node that runs it, or \
         \"any\""
    );
    assert_eq!(
        refused(&job("group = \"web\"")),
        "5:9: web runs on every node: it has no primary | write on = \"any\": the job runs on one of them"
    );
    assert_eq!(
        refused(&job("group = \"app\"\nmax_lag = \"5s\"")),
        "6:11: `max_lag` is for on = \"replica\" only"
    );
    assert_eq!(
        refused(&job("group = \"app\"\ntimezone = \"../etc\"")),
        "6:12: \"../etc\" is not the name of a time zone | a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\""
    );
    assert_eq!(
        refused(&job("group = \"app\"").replace("\"/bin/backup\"", "\"backup\"")),
        "4:12: `command` is invalid: the path must be absolute: it begins with `/` | no shell runs it and no PATH is searched; \
         arguments are separate strings"
    );
    let twice = job("group = \"app\"").repeat(2);
    assert_eq!(refused(&twice), "7:8: two jobs are called \"backup\"");
    assert!(refused(&job("group = \"app\"\nwhen = 1")).contains("unknown key `when` in [[job]]"));
}

#[test]
fn what_a_job_needs_is_said() {
    let found = errors(&format!("{BASE}{}[[job]]\n", groups()));
    for key in ["name", "group", "calendar", "command"] {
        let wanted = format!("[[job]] needs the key `{key}`");
        assert!(found.iter().any(|error| error.contains(&wanted)), "{found:?}");
    }
}

#[test]
fn secrets_in_variables_of_jobs_are_warned_of() {
    let config = accepted("group = \"app\"\nenv = { MYSQL_PASSWORD = \"x\", HOME = \"/root\" }");
    let found = findings(&config);
    let found = found
        .iter()
        .find(|finding| finding.kind == "plain-secret")
        .expect("a warning");
    assert!(
        found.text.contains("MYSQL_PASSWORD") && !found.text.contains("\"x\""),
        "{}",
        found.text
    );
}
