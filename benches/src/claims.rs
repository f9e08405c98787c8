//! Whether claiming files stays quick where much is claimed already: with 10,000 active claims, and with 10.

use std::time::Instant;

use portdaddy_core::{ClaimFiles, Coordinator, NewSession};

use crate::measure::{Spread, table, us};
use crate::setting::Setting;

const MANY: usize = 10_000;
const FEW: usize = 10;
const HOLDERS: usize = 20;
const TIMES: usize = 200;

/// What a newcomer claims, and what that is.
const PROBES: [(&str, &str); 6] = [
    ("packages/p007/src/new.ts", "a new file between claimed ones"),
    ("packages/p007/src/m3/f1.ts", "a file in a busy directory"),
    ("services/mail/send.ts", "a file where nobody works"),
    ("packages/p011/src/m2/*", "the files of a directory"),
    ("packages/p013/**", "a whole package"),
    ("src/**/*.test.ts", "the tests of a tree"),
];

pub(crate) fn run() {
    let many = Crowd::of(MANY);
    let few = Crowd::of(FEW);
    let (mut rows, mut ratios, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for (probe, what) in PROBES {
        let (mut with_many, mut with_few) = (Vec::new(), Vec::new());
        let mut conflicts = 0;
        for _ in 0..TIMES {
            with_few.push(few.claim(probe).0);
            let (time, met) = many.claim(probe);
            with_many.push(time);
            conflicts = met;
        }
        let (with_many, with_few) = (Spread::of(with_many).median, Spread::of(with_few).median);
        match conflicts {
            0 | 1 => ratios.push(with_many / with_few),
            _ => each.push((with_many - with_few) / conflicts as f64),
        }
        rows.push(vec![
            format!("`{probe}`: {what}"),
            format!("{with_few:.0} µs"),
            format!("{with_many:.0} µs"),
            format!("{:.2}", with_many / with_few),
            conflicts.to_string(),
        ]);
    }
    let Spread { median, most, .. } = Spread::of(ratios);
    let each = Spread::of(each);
    println!(
        "Median of {TIMES} calls of `claim_files` with one pattern. Where the answer is the same in both (at most one"
    );
    println!("conflict), the ratio's median is {median:.2}, its worst {most:.2}. Where there is more to report, each");
    println!("conflict adds {:.0} to {:.0} µs.\n", each.least, each.most);
    table(&["claimed", "with 10", "with 10,000", "ratio", "conflicts reported"], &rows);
}

/// A database in which so many claims are active, and a newcomer.
struct Crowd {
    newcomer: Coordinator,
    _holders: Vec<Coordinator>,
    _setting: Setting,
}

impl Crowd {
    fn of(claims: usize) -> Crowd {
        let setting = Setting::new();
        let patterns: Vec<String> = (0..claims).map(|i| pattern(i * (MANY / claims))).collect();
        let holders: Vec<Coordinator> = (0..HOLDERS).map(|n| setting.open(&format!("holder-{n}"))).collect();
        for (holder, files) in holders.iter().zip(patterns.chunks(claims.div_ceil(HOLDERS))) {
            begin(holder);
            let claim = ClaimFiles { files: files.to_vec(), force: true, session: None };
            holder.claim_files(&claim).expect("claims by force");
        }
        let newcomer = setting.open("newcomer");
        begin(&newcomer);
        Crowd { newcomer, _holders: holders, _setting: setting }
    }

    /// Microseconds of one call, and how many conflicts it reported.
    fn claim(&self, pattern: &str) -> (f64, usize) {
        let claim = ClaimFiles { files: vec![pattern.to_owned()], force: false, session: None };
        let start = Instant::now();
        let claimed = self.newcomer.claim_files(&claim).expect("an answer");
        let time = us(start.elapsed());
        if !claimed.claimed.is_empty() {
            self.newcomer.release_files(&[], None).expect("given up");
        }
        (time, claimed.conflicts.len())
    }
}

fn begin(pd: &Coordinator) {
    let session = NewSession { purpose: "Work".to_owned(), ..NewSession::default() };
    pd.start_session(&session).expect("a session");
}

/// Claims as agents make them: mostly files, some directories, some wildcards; most in packages, some in a shared tree.
fn pattern(i: usize) -> String {
    let (package, module, file) = (i % 97, i / 97 % 9, i / 7 % 61);
    let base = if i % 31 == 5 { format!("src/area{module}") } else { format!("packages/p{package:03}/src/m{module}") };
    match i % 10 {
        0..=6 => format!("{base}/f{file}.ts"),
        7 | 8 => format!("{base}/d{file}/*"),
        _ => format!("{base}/**/part{file}.{{ts,tsx}}"),
    }
}
