//! Many runs of one scenario as one.

use super::series::round;
use serde_json::{Value, json};
use std::fmt::Write;

/// Joins the documents of many runs of one scenario with different seeds.
pub fn merge(runs: &[Value]) -> Result<Value, String> {
    let first = runs.first().ok_or("there is none")?;
    let field = |run: &Value, name: &str| run.get(name).cloned().unwrap_or_default();
    let mut seeds = Vec::new();
    for run in runs {
        for name in ["version", "about", "duration_s", "crypto"] {
            if run.get(name).is_none() || run.get(name) != first.get(name) {
                return Err(format!("they differ in {name:?}, or one does not say it"));
            }
        }
        let seed = run.get("seed").and_then(Value::as_u64).ok_or("one does not say its seed")?;
        if seeds.contains(&seed) {
            return Err(format!("seed {seed} is there twice"));
        }
        seeds.push(seed);
    }
    let numbers = |path: &str| -> Vec<f64> {
        runs.iter().filter_map(|run| run.pointer(path).and_then(Value::as_f64)).collect()
    };
    let sum = |path: &str| numbers(path).iter().sum::<f64>();
    let empty = Vec::new();
    let expects = first.get("expect").and_then(Value::as_array).unwrap_or(&empty);
    let mut merged = Vec::new();
    for (n, expect) in expects.iter().enumerate() {
        let percents = numbers(&format!("/expect/{n}/percent"));
        let met = |run: &&Value| {
            run.pointer(&format!("/expect/{n}/met")).and_then(Value::as_bool) == Some(true)
        };
        let missed: Vec<&u64> =
            seeds.iter().zip(runs).filter(|(_, run)| !met(run)).map(|(seed, _)| seed).collect();
        merged.push(json!({
            "what": field(expect, "what"),
            "met": runs.len() - missed.len(),
            "missed_by_seeds": missed,
            "percent": spread(percents),
        }));
    }
    Ok(json!({
        "version": field(first, "version"),
        "about": field(first, "about"),
        "routers": spread(numbers("/routers")),
        "duration_s": field(first, "duration_s"),
        "crypto": field(first, "crypto"),
        "runs": runs.len(),
        "seeds": seeds,
        "digests": runs.iter().map(|run| field(run, "digest")).collect::<Vec<_>>(),
        "pages": { "ok": sum("/pages/ok"), "failed": sum("/pages/failed"),
                   "p50_ms": spread(numbers("/pages/p50_ms")),
                   "p99_ms": spread(numbers("/pages/p99_ms")) },
        "slow_downloads":
            { "ok": sum("/slow_downloads/ok"), "failed": sum("/slow_downloads/failed") },
        "builds": { "ok": sum("/builds/ok"), "failed": sum("/builds/failed"),
                    "refused": sum("/builds/refused"), "timed_out": sum("/builds/timed_out"),
                    "no_path": sum("/builds/no_path") },
        "expect": merged,
        "cpu_s": spread(numbers("/machine/cpu_s")),
    }))
}

/// Least, median and most.
fn spread(mut numbers: Vec<f64>) -> Value {
    numbers.sort_unstable_by(f64::total_cmp);
    match (numbers.first(), numbers.get(numbers.len() / 2), numbers.last()) {
        (Some(least), Some(median), Some(most)) => {
            json!([round(*least), round(*median), round(*most)])
        }
        _ => Value::Null,
    }
}

/// The summary of [`merge`].
#[must_use]
pub fn merged_table(merged: &Value) -> String {
    let mut text = String::new();
    let get = |path: &str| merged.pointer(path).map_or("-".to_owned(), Value::to_string);
    let about = merged.get("about").and_then(Value::as_str).unwrap_or("");
    let _ = writeln!(text, "scenario       {about}");
    let _ = writeln!(
        text,
        "runs           {} of {} routers (least, median, most), {} s each, {} cryptography",
        get("/runs"),
        get("/routers"),
        get("/duration_s"),
        merged.get("crypto").and_then(Value::as_str).unwrap_or("")
    );
    let _ = writeln!(
        text,
        "pages          {} ok, {} failed; median of each run {} ms, p99 {} ms (least, median, most)",
        get("/pages/ok"),
        get("/pages/failed"),
        get("/pages/p50_ms"),
        get("/pages/p99_ms")
    );
    let _ = writeln!(
        text,
        "downloads      {} whole, {} broken off",
        get("/slow_downloads/ok"),
        get("/slow_downloads/failed")
    );
    let _ = writeln!(
        text,
        "tunnel builds  {} ok, {} refused, {} timed out, {} without a path",
        get("/builds/ok"),
        get("/builds/refused"),
        get("/builds/timed_out"),
        get("/builds/no_path")
    );
    for expect in merged.get("expect").and_then(Value::as_array).into_iter().flatten() {
        let missed = expect.get("missed_by_seeds").filter(|seeds| **seeds != json!([]));
        let missed = missed.map_or(String::new(), |seeds| format!("; missed by seeds {seeds}"));
        let part = |name: &str| expect.get(name).map_or("-".to_owned(), Value::to_string);
        let what = expect.get("what").and_then(Value::as_str).unwrap_or("");
        let _ = writeln!(
            text,
            "met {:>3} of {:<3} {what}: {} % (least, median, most){missed}",
            part("met"),
            get("/runs"),
            part("percent")
        );
    }
    text
}
