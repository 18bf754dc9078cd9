//! The test programs as shell scripts, and the checks told like tests: for runtimes of real programs.

use super::{CHECKS, Program, RuntimeUnderTest, run_check};

impl Program {
    /// The arguments of a POSIX shell that make it this program; `None` for [`Serve`](Self::Serve), which no shell can do
    /// alone. `root` goes before paths inside the container, and `log` is where the termination message goes: both are
    /// expanded by the shell.
    #[must_use]
    pub fn shell_arguments(&self, root: &str, log: &str) -> Option<Vec<String>> {
        let (script, args): (String, Vec<String>) = match self {
            Self::Sleep => ("exec sleep 1000000".into(), vec![]),
            Self::IgnoreStop => ("trap '' TERM; echo ready; exec sleep 1000000".into(), vec![]),
            Self::Exit(code) => ("exit $1".into(), vec![code.to_string()]),
            Self::Write { out, err } => {
                (r#"printf %s "$1"; printf %s "$2" >&2"#.into(), vec![out.clone(), err.clone()])
            }
            Self::WriteAndSleep(text) => (r#"printf %s "$1"; exec sleep 1000000"#.into(), vec![text.clone()]),
            Self::Lines(lines) => {
                let script = "i=0; while [ $i -lt $1 ]; do echo line $i; i=$((i+1)); done";
                (script.into(), vec![lines.to_string()])
            }
            Self::LinesForEver => ("i=0; while :; do echo line $i; i=$((i+1)); done".into(), vec![]),
            Self::PrintEnv(names) => {
                (r#"for n in "$@"; do eval "printf '%s\n' \"\$$n\""; done"#.into(), names.clone())
            }
            Self::PrintArgs => (r#"for a in "$@"; do printf '<%s>\n' "$a"; done"#.into(), vec![]),
            Self::PrintFile(path) => (format!(r#"exec cat "{root}$1""#), vec![path.display().to_string()]),
            Self::Cat => ("exec cat".into(), vec![]),
            Self::Say(text) => (format!(r#"printf %s "$1" > "{log}"; exit 1"#), vec![text.clone()]),
            Self::Serve(_) => return None,
        };
        Some(["-c".to_owned(), script, "sh".to_owned()].into_iter().chain(args).collect())
    }
}

/// Runs the checks whose names have `filter` in them, and tells of each as libtest tells of a test. Answers how many failed.
#[allow(clippy::print_stdout, reason = "it is what a test program prints")]
pub async fn run_as_tests(subject: &dyn RuntimeUnderTest, filter: &str) -> usize {
    let mut failed = 0;
    for check in CHECKS.iter().filter(|check| check.name.contains(filter)) {
        match run_check(subject, check).await {
            Ok(()) => println!("test {} ... ok", check.name),
            Err(why) => {
                failed += 1;
                println!("test {} ... FAILED\n{why}", check.name);
            }
        }
    }
    failed
}
