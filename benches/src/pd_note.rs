//! One whole `pd` command against one whole `redis-cli` command, measured by hyperfine in turns.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use crate::hyperfine;
use crate::measure::{Spread, ms, table};
use crate::setting::{Setting, pd};

const ROUNDS: usize = 20;
const RUNS: usize = 15;

pub(crate) fn run() {
    let port = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: benches/run.sh does"));
    let redis = |port: &str| format!("redis-cli -p {port} SET k v");
    let own = |args: &str| format!("{} {args}", pd().display());
    let setting = Setting::new();
    setting.do_pd(&["begin", "Measuring"]);
    setting.do_pd(&["note", "first"]);
    setting.do_pd(&["lock", "bench"]);
    let plain = redis(&port("PD_BENCH_REDIS"));
    // Each with what is to happen before every run of it, unmeasured.
    let commands: Vec<(&str, String, Option<String>)> = vec![
        ("`redis-cli SET k v`, nothing kept", plain, None),
        ("`pd note x`", own("note x"), None),
        ("`redis-cli SET k v`, `appendfsync always`", redis(&port("PD_BENCH_REDIS_FSYNC")), None),
        ("`pd pub`", own(r#"pub bench:done '{"n":1}'"#), None),
        ("`pd claim -q`", own("claim shop:api -q"), None),
        ("`pd unlock`", own("unlock bench"), Some(own("lock bench"))),
        ("`pd lock`", own("lock bench"), Some(own("unlock bench"))),
        ("`pd whoami` (writes nothing)", own("whoami"), None),
        ("`true`", "true".to_owned(), None),
    ];
    let mut medians: Vec<Vec<f64>> = vec![Vec::new(); commands.len()];
    for _ in 0..ROUNDS {
        for ((name, command, before), medians) in commands.iter().zip(&mut medians) {
            if *name == "`pd unlock`" {
                setting.do_pd(&["unlock", "bench"]);
            }
            medians.push(Spread::of(hyperfine::run(&setting, command, before.as_deref(), RUNS)).median * 1e3);
            if *name == "`pd unlock`" {
                setting.do_pd(&["lock", "bench"]);
            }
        }
    }
    let rows: Vec<Vec<String>> = commands
        .iter()
        .zip(&medians)
        .map(|((name, ..), own)| {
            let ratios = own.iter().zip(&medians[0]).map(|(own, peer)| own / peer).collect();
            let Spread { least, median, most } = Spread::of(ratios);
            let time = Spread::of(own.clone()).median;
            vec![(*name).to_owned(), format!("{time:.2} ms"), format!("{median:.2}"), format!("{least:.2}–{most:.2}")]
        })
        .collect();
    println!(
        "{ROUNDS} rounds of {RUNS} runs of each command, in turns; median of the rounds' medians, and the rounds' ratios.\n"
    );
    table(&["command", "median", "ratio to the first", "least–most"], &rows);
    let (append, directory) = fsync(&setting);
    println!(
        "\nOne fsync of this disk (five pages appended, median of 200): {append:.2} ms; of a directory: {directory:.2} ms. \
         A note is on the disk when `pd note` ends; nothing of the first row ever is."
    );
}

/// What one fsync costs: of a file that has grown by five pages, and of a directory.
fn fsync(setting: &Setting) -> (f64, f64) {
    let path = setting.path().join("fsync");
    let file = OpenOptions::new().create_new(true).write(true).open(&path).expect("a file");
    let directory = std::fs::File::open(setting.path()).expect("the directory");
    let page = [7u8; 5 * 1048];
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for i in 0..200 {
        file.write_all_at(&page, i * 5 * 1048).expect("written");
        let start = Instant::now();
        file.sync_all().expect("synced");
        files.push(ms(start.elapsed()));
        let start = Instant::now();
        directory.sync_all().expect("synced");
        directories.push(ms(start.elapsed()));
    }
    (Spread::of(files).median, Spread::of(directories).median)
}
