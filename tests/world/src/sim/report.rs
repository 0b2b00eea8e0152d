//! A page with plots over virtual time, in one file that needs nothing else.

use super::text::table;
use serde_json::Value;
use std::fmt::Write;

/// Size of a plot, in pixels, and of its margins.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 52.0;
const BOTTOM: f64 = 20.0;
const TOP: f64 = 8.0;
/// For people who see fewer colours too; lines also differ in their dashes.
const COLOURS: [&str; 5] = ["#0b62a4", "#d95f02", "#1b9e77", "#7b3294", "#666666"];
const DASHES: [&str; 5] = ["", "6 3", "2 3", "8 3 2 3", "1 4"];

/// A plot: its title, the unit, and its lines with the columns that they show.
struct Plot {
    title: &'static str,
    unit: &'static str,
    lines: &'static [(&'static str, &'static str)],
}

const PLOTS: [Plot; 11] = [
    Plot {
        title: "Pages",
        unit: "in a sample",
        lines: &[("came", "pages_ok"), ("failed", "pages_failed")],
    },
    Plot {
        title: "Time to a whole page",
        unit: "ms",
        lines: &[
            ("median", "latency_p50_ms"),
            ("p90", "latency_p90_ms"),
            ("p99", "latency_p99_ms"),
        ],
    },
    Plot {
        title: "Tunnel builds that succeed",
        unit: "share",
        lines: &[("builds", "build_success")],
    },
    Plot {
        title: "Builds that come to nothing",
        unit: "in a sample",
        lines: &[
            ("refused", "builds_refused"),
            ("timed out", "builds_timed_out"),
            ("no path", "builds_no_path"),
        ],
    },
    Plot {
        title: "Packets of streams that went before",
        unit: "share",
        lines: &[("again", "packets_again")],
    },
    Plot { title: "Lookups that succeed", unit: "share", lines: &[("lookups", "lookup_success")] },
    Plot {
        title: "Goodput of all readers",
        unit: "B/s",
        lines: &[("goodput", "goodput_bytes_per_s")],
    },
    Plot {
        title: "Messages sent, by kind",
        unit: "B/s",
        lines: &[
            ("tunnels", "tunnel_bytes_per_s"),
            ("builds", "build_bytes_per_s"),
            ("netdb", "netdb_bytes_per_s"),
            ("other", "other_bytes_per_s"),
        ],
    },
    Plot {
        title: "Routers",
        unit: "routers",
        lines: &[("up", "routers_up"), ("known to one", "known_routers")],
    },
    Plot { title: "Sessions of all", unit: "sessions", lines: &[("sessions", "sessions")] },
    Plot {
        title: "Bytes in buffers of all",
        unit: "bytes",
        lines: &[("buffered", "buffered_bytes")],
    },
];

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:64em;\
padding:0 1em;color:#222;background:#fff}h1{font-size:1.4em}table{border-collapse:collapse}\
td,th{padding:.25em .8em;text-align:left;border-bottom:1px solid #ddd}.met{color:#1b7a4b}\
.missed{color:#b00020;font-weight:bold}figure{display:inline-block;margin:0 1em 1.4em 0}\
figcaption{font-size:.9em}pre{background:#f5f5f5;padding:.8em;overflow:auto}\
svg text{font:11px system-ui,sans-serif;fill:#444}";

/// The page for the document of one run.
#[must_use]
pub fn html(run: &Value) -> String {
    let about = escape(run.get("about").and_then(Value::as_str).unwrap_or(""));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <title>{about}</title>\n<style>{STYLE}</style>\n<h1>{about}</h1>\n"
    );
    expectations(&mut page, run);
    for plot in &PLOTS {
        figure(&mut page, plot, run.get("series").unwrap_or(&Value::Null));
    }
    let _ = write!(page, "<h2>Summary</h2>\n<pre>{}</pre>\n</html>\n", escape(&table(run)));
    page
}

fn expectations(page: &mut String, run: &Value) {
    let expects = run.get("expect").and_then(Value::as_array);
    let Some(expects) = expects.filter(|e| !e.is_empty()) else { return };
    page.push_str("<table><tr><th>asked for<th>measured<th>\n");
    for expect in expects {
        let part = |name: &str| escape(expect.get(name).and_then(Value::as_str).unwrap_or(""));
        let met = expect.get("met").and_then(Value::as_bool).unwrap_or(false);
        let (class, word) = if met { ("met", "met") } else { ("missed", "missed") };
        let (what, measured) = (part("what"), part("measured"));
        let _ = writeln!(page, "<tr><td>{what}<td>{measured}<td class=\"{class}\">{word}");
    }
    page.push_str("</table>\n");
}

/// One entry a sample; what was not measured is left out.
fn column(series: &Value, name: &str) -> Vec<Option<f64>> {
    let column = series.get(name).and_then(Value::as_array);
    column.map(|c| c.iter().map(Value::as_f64).collect()).unwrap_or_default()
}

fn figure(page: &mut String, plot: &Plot, series: &Value) {
    let times: Vec<f64> = column(series, "t_s").into_iter().flatten().collect();
    let columns: Vec<_> = plot.lines.iter().map(|(_, name)| column(series, name)).collect();
    let end = times.last().copied().unwrap_or(0.0).max(1.0);
    let most = columns.iter().flatten().flatten().copied().fold(0.0, f64::max);
    let most = if plot.unit == "share" { 1.0 } else { nice(most) };
    let x = |t: f64| LEFT + (WIDTH - LEFT - 4.0) * t / end;
    let y = |v: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - v / most);
    let label = format!("{} over virtual time", plot.title);
    let _ = write!(
        page,
        "<figure><svg width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{label}\">"
    );
    for part in [0.0, 0.5, 1.0] {
        let (value, at) = (most * part, y(most * part));
        let _ = write!(
            page,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 4.0,
            at + 4.0,
            short(value)
        );
        let minutes = end * part / 60.0;
        let _ = write!(
            page,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{minutes:.1} min</text>",
            x(end * part).clamp(LEFT + 14.0, WIDTH - 22.0),
            HEIGHT - 4.0
        );
    }
    for (n, values) in columns.iter().enumerate() {
        let mut path = String::new();
        let mut pen_down = false;
        for (t, value) in times.iter().zip(values) {
            let Some(value) = value else {
                pen_down = false;
                continue;
            };
            let step = if pen_down { 'L' } else { 'M' };
            let _ = write!(path, "{step}{:.1} {:.1}", x(*t), y(*value));
            pen_down = true;
        }
        let (colour, dash) = (COLOURS[n % COLOURS.len()], DASHES[n % DASHES.len()]);
        let _ = write!(
            page,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" \
             stroke-linecap=\"round\" stroke-dasharray=\"{dash}\"/>"
        );
    }
    let _ = write!(page, "</svg><figcaption>{} ({})", plot.title, plot.unit);
    if plot.lines.len() > 1 {
        for (n, (name, _)) in plot.lines.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let _ = write!(page, " <span style=\"color:{colour}\">&#9644; {name}</span>");
        }
    }
    page.push_str("</figcaption></figure>\n");
}

/// The next 1, 2 or 5 times a power of ten.
fn nice(most: f64) -> f64 {
    let mut step = 1.0;
    while step < most {
        for factor in [2.0, 5.0, 10.0] {
            if step * factor >= most {
                return step * factor;
            }
        }
        step *= 10.0;
    }
    step
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{} G", v / 1e9),
        v if v >= 1e6 => format!("{} M", v / 1e6),
        v if v >= 1e3 => format!("{} k", v / 1e3),
        v => format!("{v}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_line_has_a_column() {
        let columns = crate::sim::series::Series::default().columns();
        for (_, column) in PLOTS.iter().flat_map(|plot| plot.lines) {
            assert!(columns.get(column).is_some(), "{column}");
        }
    }

    #[test]
    fn a_scale_ends_just_above_the_greatest_value() {
        for (most, end) in [(0.0, 1.0), (1.0, 1.0), (1.5, 2.0), (3.0, 5.0), (101.0, 200.0)] {
            assert_eq!(nice(most), end, "{most}");
        }
    }

    #[test]
    fn what_was_not_measured_leaves_a_gap_and_texts_are_escaped() {
        let run = json!({
            "about": "<b>",
            "series": { "t_s": [5, 10, 15], "pages_ok": [1, null, 2] },
        });
        let page = html(&run);
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
        let path = page.split("<path d=\"").nth(1).and_then(|p| p.split('"').next());
        assert_eq!(path.map(|p| p.matches('M').count()), Some(2), "{path:?}");
        assert!(!page.contains("http"), "it needs nothing else");
    }
}
