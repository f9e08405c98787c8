use crate::place::Place;

const NAMES: [&str; 8] = ["note", "publish", "lock", "claim", "delivery", "hand_over", "eight_writers", "fsync"];

/// What the benchmark has put beside the database.
fn beside(place: &Place) -> Vec<String> {
    let names = std::fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".pd-bench-")).collect()
}

#[test]
fn it_prints_every_figure_and_leaves_nothing() {
    let place = Place::new();
    let run = place.pd(&["bench", "--seconds", "0.4"]);
    assert_eq!(run.exit, 0, "{}", run.shown());
    let lines: Vec<_> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 1 + NAMES.len(), "{}", run.shown());
    assert!(lines[0].contains("p50") && lines[0].contains("p99") && lines[0].contains("per s"), "{}", lines[0]);
    assert!(lines[1..].iter().all(|line| line.contains(" µs") || line.contains(" ms")), "{}", run.stdout);
    assert_eq!(run.stderr.lines().count(), 1 + NAMES.len(), "{}", run.shown());
    assert!(beside(&place).is_empty() && !place.path("db").exists());
}

#[test]
fn its_document_names_units_and_the_users_database_stays_as_it_is() {
    let place = Place::new();
    place.ok(&["note", "mine"]);
    let state = || {
        let mut files: Vec<_> = std::fs::read_dir(place.path("db")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.is_file().then(|| std::fs::read(&path).unwrap()), path)).collect::<Vec<_>>()
    };
    let before = state();
    let document = place.json(&["bench", "--seconds", "0.4"]);
    let figures = document["figures"].as_array().unwrap();
    assert_eq!(figures.iter().map(|f| f["name"].as_str().unwrap()).collect::<Vec<_>>(), NAMES);
    for figure in figures {
        let [p50, p99, worst] = ["p50_us", "p99_us", "worst_us"].map(|name| figure[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= worst, "{figure}");
        assert!(figure["calls"].as_u64().unwrap() > 0, "{figure}");
        let paced = ["delivery", "hand_over"].contains(&figure["name"].as_str().unwrap());
        assert_eq!(figure["per_second"].is_null(), paced, "{figure}");
    }
    assert!(document["dir"].as_str().unwrap().starts_with(place.path("db/.pd-bench-").to_str().unwrap()));
    assert!(state() == before, "the user's database has changed");
    let bare = place.ok(&["bench", "--seconds", "0.4", "-q"]);
    for (line, name) in bare.lines().zip(NAMES) {
        let words: Vec<_> = line.split(' ').collect();
        assert!(words.len() == 5 && words[0] == name, "{line}");
    }
}

#[test]
fn killed_or_interrupted_it_still_leaves_nothing() {
    for signal in ["INT", "TERM", "KILL"] {
        let place = Place::new();
        let bench = place.start(&["bench", "--seconds", "60", "--json"]);
        // Beside the database's directory, which isn't there.
        place.until(|| beside(&place).iter().any(|name| place.path(name).join("db/port-daddy.db").exists()));
        bench.signal(signal);
        assert!(bench.exit() < 0);
        place.until(|| beside(&place).is_empty());
    }
}

#[test]
fn it_says_what_is_wrong() {
    let place = Place::new();
    for wrong in ["0", "3601", "soon", "NaN"] {
        let run = place.pd(&["bench", "--seconds", wrong]);
        let said = format!("invalid value '{wrong}' for '--seconds <N>': it is a number of seconds from 0.1 to 3600");
        assert!(run.exit == 2 && run.stderr.contains(&said), "{}", run.stderr);
    }
    assert!(!place.ok(&["bench", "--help"]).contains("--role"));
}
