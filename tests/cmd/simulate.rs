//! `simulate`: what scripts rely on, and what is said of a trace that is none.

use crate::node::{Folder, of_type, text, with_json};

#[test]
fn a_simulation_needs_no_home_and_says_what_scripts_rely_on() {
    let folder = Folder::new();
    // Ann meets Bob, who meets Carl: in this order mail goes from Ann to Carl, and not back.
    let rounds = |n: u32| format!("{0} {1} ann bob\n{2} {3} bob carl\n", n, n + 9, n + 20, n + 29);
    let trace: String = (0..40).map(|n| rounds(n * 100)).collect();
    let (trace, drawn) = (folder.file("trace", trace.as_bytes()), folder.path("out.svg"));
    let (trace, drawn) = (trace.to_str().unwrap(), drawn.to_str().unwrap());
    let nobody = folder.nobody("x");
    let args = ["simulate", trace, "--scheme", "ours", "--scheme", "direct", "--messages", "40"];
    let args = [&args[..], &["--ttl", "1h", "--seed", "5", "--svg", drawn]].concat();
    let told = nobody.json(&args);
    let summaries = of_type(&told, "summary");
    assert_eq!(summaries.len(), 2);
    for (summary, scheme) in summaries.iter().zip(["ours", "direct"]) {
        assert_eq!(text(summary, "scheme"), scheme);
        assert_eq!(summary["v"], 1);
        for key in ["delivered", "transmissions_per_message", "delay_p50_s", "delay_p95_s"] {
            assert!(summary[key].is_number(), "{key} of {summary}");
        }
        let counted = ["nodes", "messages", "seed"].map(|key| summary[key].as_u64().unwrap());
        assert_eq!(counted, [3, 40, 5]);
    }
    assert!(summaries[0]["delivered"].as_f64() > summaries[1]["delivered"].as_f64());
    assert_eq!(told, nobody.json(&args), "a seed says all");
    assert!(std::fs::read_to_string(drawn).unwrap().contains("</svg>"));
    // Floods are not counted, and copies that no receipt frees lie about for longer.
    let mean = |more: &[&str]| {
        let told = nobody.json([&["simulate", trace, "--messages", "40"], more].concat());
        let summary = of_type(&told, "summary").remove(0).clone();
        assert_eq!(summary["messages"], 40);
        summary["copies_mean"].as_f64().unwrap()
    };
    assert!(mean(&["--no-receipts"]) > 1.2 * mean(&[]));
    assert!(mean(&["--attackers", "1", "--keys", "9", "--buffer", "9"]) <= mean(&[]));
    let table = nobody.run(["simulate", "town:20:1d", "--messages", "5"]).ok().out;
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn what_is_no_trace_is_named_with_its_line_and_what_to_do() {
    let folder = Folder::new();
    let nobody = folder.nobody("x");
    let bad = folder.file("bad", b"0 10 a b\n12 15 a a\n");
    let ended = nobody.run(["simulate", bad.to_str().unwrap()]).code(2);
    assert!(ended.err.contains("line 2") && ended.err.contains("start end a b"), "{}", ended.err);
    nobody.run(["simulate", "nowhere"]).code(1);
    nobody.run(["simulate", "town:1:1d"]).code(2);
    nobody.run(["simulate", "town:9:1d", "--scheme", "oracle"]).code(2);
    nobody.run(with_json(["simulate"])).code(2);
}
