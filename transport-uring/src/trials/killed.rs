//! Processes that are killed when their ring has completed its n-th operation, before anybody hears of that one.

use std::process::{Command, Output};

use longhaul_core::reason;

use super::*;

/// What a process that is to be killed is told.
const VARIABLES: [&str; 4] = ["LONGHAUL_KILLED", "LONGHAUL_ADDRESS", "LONGHAUL_PATH", "LONGHAUL_DATA_PATH"];
/// So many points of each case are tried, unless `LONGHAUL_KILLS` says how many.
const KILLS: u64 = 1;

const DATA_PATHS: [DataPath; 3] = [DataPath::Direct, DataPath::Buffered, DataPath::RingSplice];

/// How a side that takes part in one transfer is set up.
fn options(data_path: DataPath) -> Options {
    Options {
        member: MemberId([1; 16]),
        transfer: TransferId([9; 16]),
        redial: false,
        stall_timeout: Duration::from_secs(5),
        data_path,
        integrity: if data_path.is_spliced() { Integrity::None } else { Integrity::Crc32c },
        ..Options::default()
    }
}

/// One side's way through a transfer with whoever listens at `address`: its operations complete as planned.
fn take_part(which: reason::Side, address: &str, path: &Path, data_path: DataPath, plan: Plan) -> Plan {
    let (side, control) = (Side::new(1), Arc::new(Control::new()));
    side.plan(plan);
    let (options, engine) = (options(data_path), side.engine());
    let ended = match which {
        reason::Side::Joiner => {
            longhaul_transport::join(address, sink(path), &options, &side.pool, &control, &engine)
        }
        reason::Side::Provider => {
            let source = Arc::new(DirectorySource::new(path, DirectoryOptions::default()).unwrap());
            longhaul_transport::provide(address, source, &options, &side.pool, &control, &engine)
        }
    };
    ended.unwrap();
    side.plan(Plan::default())
}

/// The process that is killed: this test, started by itself.
#[test]
#[ignore = "the other one starts it in a process of its own"]
fn whoever_is_killed() {
    let [lives, address, path, data_path] = VARIABLES.map(|name| std::env::var(name).unwrap());
    let (which, lives) = lives.split_once(' ').unwrap();
    let which = if which == "joiner" { reason::Side::Joiner } else { reason::Side::Provider };
    let data_path = DATA_PATHS.into_iter().find(|path| path.name() == data_path).unwrap();
    let plan = Plan { lives: Some(lives.parse().unwrap()), ..Plan::default() };
    take_part(which, &address, Path::new(&path), data_path, plan);
}

/// A transfer from `state` to `copy` of which one side is this process, and the other one what `other` does.
fn against<T>(
    which: reason::Side,
    paths: [&Path; 2],
    data_path: DataPath,
    other: impl FnOnce(&str) -> T,
) -> T {
    let ([state, copy], side) = (paths, Side::new(1));
    let listener = Listener::bind("127.0.0.1:0", side.engine()).unwrap();
    let options = Options { member: MemberId([2; 16]), ..options(data_path) };
    thread::scope(|scope| {
        scope.spawn(|| {
            // Nobody has called if it was killed before it could, and whoever was killed has failed this side too.
            let Some(caller) = listener.accept().unwrap() else { return };
            let control = Arc::new(Control::new());
            let _ = match which {
                reason::Side::Joiner => {
                    let source = Arc::new(DirectorySource::new(state, DirectoryOptions::default()).unwrap());
                    caller.provide(source, &options, &side.pool, &control)
                }
                reason::Side::Provider => caller.join(sink(copy), &options, &side.pool, &control),
            };
        });
        let result = other(&listener.local_addr().to_string());
        listener.stop();
        result
    })
}

/// One side of it in a process that is killed at this completion.
fn killed(which: reason::Side, paths: [&Path; 2], data_path: DataPath, lives: u64) -> Output {
    against(which, paths, data_path, |address| {
        let (name, path) = match which {
            reason::Side::Joiner => ("joiner", paths[1]),
            reason::Side::Provider => ("provider", paths[0]),
        };
        let told =
            [format!("{name} {lives}"), address.into(), path.display().to_string(), data_path.name().into()];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "trials::killed::whoever_is_killed", "--ignored", "--nocapture"]);
        command.envs(VARIABLES.into_iter().zip(told)).output().unwrap()
    })
}

// Catalogue: F48, F49
#[test]
fn a_side_that_is_killed_at_any_completion_leaves_nothing_or_all_and_is_gone_on_from() {
    let kills = std::env::var("LONGHAUL_KILLS").ok().map_or(KILLS, |kills| kills.parse().unwrap());
    let (place, mut drawn) = (tempfile::tempdir_in(".").unwrap(), seed());
    let state = place.path().join("state");
    make_state(&state);
    let mut struck = 0;
    for (which, data_path) in [reason::Side::Joiner, reason::Side::Provider]
        .into_iter()
        .flat_map(|which| DATA_PATHS.map(|data_path| (which, data_path)))
    {
        let copy = place.path().join(format!("{which} {}", data_path.name()));
        let paths = [state.as_path(), &copy];
        let path = if which == reason::Side::Joiner { &copy } else { &state };
        let whole = |lives| {
            let plan = Plan { lives, ..Plan::default() };
            against(which, paths, data_path, |address| take_part(which, address, path, data_path, plan))
        };
        let all = whole(None).completed;
        assert_whole(&copy);
        for _ in 0..kills.min(all) {
            fs::remove_dir_all(&copy).unwrap();
            drawn = drawn.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let lives = 1 + (drawn >> 32) % all;
            let ended = killed(which, paths, data_path, lives);
            let what = format!("the {which} by {}, at {lives} of {all}: {ended:?}", data_path.name());
            // It may have had more to do than that, or less.
            struck += u64::from(ended.status.code().is_none());
            assert!(ended.status.code().is_none_or(|code| code == 0), "{what}");
            if !copy.exists() {
                whole(None);
            }
            assert!(
                (0..SIZES.len()).all(|n| fs::read(copy.join(n.to_string())).unwrap() == content(n)),
                "{what}"
            );
        }
    }
    println!("{struck} were killed");
    assert!(struck > 0, "nobody was killed");
}
