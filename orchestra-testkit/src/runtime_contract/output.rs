//! What programs are given, and programs run beside them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use orchestra_core::runtime::{ExecOptions, ExecSession, LogSource, Mount, MountSource, RuntimeError};

use super::case::{DEADLINE, GRACE, text};
use super::{Case, Program};

pub(super) async fn arguments_arrive_unchanged(case: &Case<'_>) {
    let args = ["plain", "two words", "", "\"quoted\" 'twice'", "$HOME `date` \\n", "\u{fc}*?"];
    let sandbox = case.run_sandbox().await.id;
    let mut spec = case.program(&Program::PrintArgs);
    spec.args.extend(args.map(str::to_owned));
    let container = case.start(&sandbox, &spec).await;
    let expected: String = args.iter().map(|arg| format!("<{arg}>\n")).collect();
    assert_eq!(text(&case.output(&container).await), expected);
}

pub(super) async fn variables_arrive(case: &Case<'_>) {
    let sandbox = case.run_sandbox().await.id;
    let mut spec =
        case.program(&Program::PrintEnv(vec!["GREETING".to_owned(), "EMPTY".to_owned(), "AGAIN".to_owned()]));
    spec.env.push(("GREETING".to_owned(), "hello = world $HOME".to_owned()));
    spec.env.push(("EMPTY".to_owned(), String::new()));
    spec.env.push(("AGAIN".to_owned(), "first".to_owned()));
    spec.env.push(("AGAIN".to_owned(), "the last one counts".to_owned()));
    let container = case.start(&sandbox, &spec).await;
    assert_eq!(text(&case.output(&container).await), "hello = world $HOME\n\nthe last one counts\n");
}

pub(super) async fn a_mounted_directory_is_there(case: &Case<'_>) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("orchestra-contract-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("greeting"), "from the host\n").expect("a file");
    let sandbox = case.run_sandbox().await.id;
    let mut spec = case.program(&Program::PrintFile("/data/in/greeting".into()));
    spec.mounts.push(Mount::new("/data/in", MountSource::Host(dir.clone())));
    let container = case.start(&sandbox, &spec).await;
    let output = text(&case.output(&container).await);
    case.runtime().await.remove_sandbox(&sandbox).await.expect("remove_sandbox");
    let kept = std::fs::read_to_string(dir.join("greeting"));
    std::fs::remove_dir_all(&dir).expect("removing the directory");
    assert_eq!(output, "from the host\n");
    assert_eq!(kept.expect("the volume is not the container's to remove"), "from the host\n");
}

async fn exec(
    case: &Case<'_>,
    container: &orchestra_core::runtime::ContainerId,
    program: &Program,
    stdin: bool,
) -> ExecSession {
    let command = case.subject.exec_command(program);
    let options = ExecOptions { command, stdin, tty: false };
    case.runtime().await.exec(container, &options).await.expect("exec")
}

/// All output of an exec, of both kinds.
async fn read(session: &mut ExecSession) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let read = async {
        while let Some(chunk) = session.output.recv().await {
            let to = if chunk.source == LogSource::Stdout { &mut out } else { &mut err };
            *to += &String::from_utf8_lossy(&chunk.bytes);
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("the output of exec ends");
    (out, err)
}

pub(super) async fn exec_gives_output_and_exit_code(case: &Case<'_>) {
    let (_, container) = case.run(&Program::Sleep).await;
    let program = Program::Write { out: "to stdout\n".to_owned(), err: "to stderr\n".to_owned() };
    let mut session = exec(case, &container, &program, false).await;
    assert!(session.stdin.is_none() && session.resize.is_none());
    assert_eq!(read(&mut session).await, ("to stdout\n".to_owned(), "to stderr\n".to_owned()));
    assert_eq!(session.exit.await.expect("exit"), 0);
    for code in [0, 42] {
        let session = exec(case, &container, &Program::Exit(code), false).await;
        assert_eq!(session.exit.await.expect("exit"), code);
    }
}

pub(super) async fn exec_of_what_is_no_program_says_so(case: &Case<'_>) {
    let (_, container) = case.run(&Program::Sleep).await;
    let options = ExecOptions::new(["/no/such/program", "argument"]);
    let ended = match case.runtime().await.exec(&container, &options).await {
        Ok(session) => tokio::time::timeout(DEADLINE, session.wait_with_output()).await.expect("it ends"),
        Err(error) => Err(error),
    };
    match ended {
        Err(RuntimeError::Start { program, .. }) => assert_eq!(program, "/no/such/program"),
        other => panic!("a program that does not exist was run: {other:?}"),
    }
    // The container is as it was.
    let session = exec(case, &container, &Program::Exit(0), false).await;
    assert_eq!(session.exit.await.expect("exit"), 0);
}

pub(super) async fn exec_reads_its_input(case: &Case<'_>) {
    let (_, container) = case.run(&Program::Sleep).await;
    let mut session = exec(case, &container, &Program::Cat, true).await;
    let stdin = session.stdin.take().expect("an input");
    let sent: Vec<Bytes> = (0..64).map(|number| Bytes::from(format!("{number:01023}\n"))).collect();
    let send = async {
        for bytes in sent.iter().cloned() {
            stdin.send(bytes).await.expect("the program reads");
        }
        drop(stdin);
    };
    let ((), (out, _)) = tokio::join!(send, read(&mut session));
    assert_eq!(out.into_bytes(), sent.concat());
    assert_eq!(session.exit.await.expect("exit"), 0);
}

pub(super) async fn a_dropped_exec_is_killed(case: &Case<'_>) {
    let (_, container) = case.run(&Program::Sleep).await;
    let before = pids(case, &container).await;
    let session = exec(case, &container, &Program::IgnoreStop, false).await;
    assert!(pids(case, &container).await > before);
    drop(session);
    let back = async {
        while pids(case, &container).await > before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, back).await.expect("the program dies with its session");
}

async fn pids(case: &Case<'_>, container: &orchestra_core::runtime::ContainerId) -> u64 {
    let stats = case.runtime().await.stats().await.expect("stats");
    stats.iter().find(|stats| stats.id == *container).expect("stats of the container").pids
}

pub(super) async fn exec_ends_with_its_container(case: &Case<'_>) {
    let (_, container) = case.run(&Program::Sleep).await;
    let mut session = exec(case, &container, &Program::IgnoreStop, false).await;
    case.runtime().await.stop_container(&container, GRACE).await.expect("stop_container");
    read(&mut session).await;
    let ended = tokio::time::timeout(DEADLINE, session.exit).await.expect("it ends with its container");
    assert_ne!(ended.ok(), Some(0));
    let options =
        ExecOptions { command: case.subject.exec_command(&Program::Exit(0)), ..ExecOptions::default() };
    assert!(
        case.runtime().await.exec(&container, &options).await.is_err(),
        "exec in a container that has ended"
    );
}
