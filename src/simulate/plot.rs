//! The share of messages that arrived over the time since they were written, as a drawing.

use std::fmt::Write;

use super::Simulated;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Room for what stands beside the axes.
const LEFT: f64 = 56.0;
const BELOW: f64 = 44.0;
const ABOVE: f64 = 28.0;
const RIGHT: f64 = 190.0;
/// Told apart also by those who see no red or green (Okabe and Ito's).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// An SVG document with a curve for each run.
pub fn plot(runs: &[Simulated]) -> String {
    let ttl_s = runs.iter().map(|run| f64::from(run.ttl_s)).fold(1.0, f64::max);
    let slowest = runs.iter().filter_map(|run| run.delays_s.last()).copied().fold(1.0, f64::max);
    let span_s = slowest.min(ttl_s);
    let x = |s: f64| LEFT + s / span_s * (WIDTH - LEFT - RIGHT);
    let y = |share: f64| HEIGHT - BELOW - share * (HEIGHT - BELOW - ABOVE);
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Messages that arrived, by the time they took</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for tenth in 0..=5 {
        let share = f64::from(tenth) / 5.0;
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {0:.1}H{1:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4} %</text>",
            y(share),
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(share) + 4.0,
            tenth * 20
        );
    }
    for quarter in 0..=4 {
        let at_s = span_s * f64::from(quarter) / 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(at_s),
            HEIGHT - BELOW + 18.0,
            spoken(at_s)
        );
    }
    for ((number, run), colour) in runs.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let _ = writeln!(
            out,
            "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            curve(run, span_s, &x, &y)
        );
        let row = f64::from(u32::try_from(number).unwrap_or(0)) * 34.0 + ABOVE + 10.0;
        let beside = WIDTH - RIGHT + 14.0;
        let _ = writeln!(
            out,
            "<text x=\"{beside}\" y=\"{row}\" fill=\"{colour}\">{}: {:.1} %</text>\
             <text x=\"{beside}\" y=\"{}\" fill=\"#555\">{:.1} transmissions each</text>",
            run.scheme,
            run.delivered * 100.0,
            row + 14.0,
            run.transmissions_per_message
        );
    }
    out.push_str("</svg>\n");
    out
}

/// Steps up at each that arrived.
fn curve(run: &Simulated, span_s: f64, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut path = format!("M{:.1} {:.1}", x(0.0), y(0.0));
    #[expect(clippy::cast_precision_loss, reason = "a drawing")]
    let (all, messages) = (run.delays_s.len(), run.messages.max(1) as f64);
    // More points than pixels show nothing more.
    let every = all.div_ceil(500).max(1);
    for (at, delay_s) in run.delays_s.iter().enumerate() {
        if at % every == 0 || at + 1 == all {
            #[expect(clippy::cast_precision_loss, reason = "a drawing")]
            let share = (at + 1) as f64 / messages;
            let _ = write!(path, "H{:.1}V{:.1}", x(delay_s.min(span_s)), y(share));
        }
    }
    let _ = write!(path, "H{:.1}", x(span_s));
    path
}

/// A span of time for the axis.
fn spoken(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}
