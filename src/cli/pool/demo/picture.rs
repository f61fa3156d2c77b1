//! The live picture: a scene becomes lines, and a terminal shows the lines of the newest scene in place of the last ones.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use super::tool::NAME;

/// So many steps of the curve of calls are shown.
pub const CURVE_STEPS: usize = 48;
/// So many of the newest events are shown.
const EVENTS_SHOWN: usize = 6;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// All that is shown.
#[derive(Default)]
pub struct Scene {
    pub elapsed: Duration,
    pub zones: Vec<Zone>,
    pub calls: u64,
    pub failed: u64,
    /// Calls a second, the newest last.
    pub curve: VecDeque<u64>,
    pub key_use: Duration,
    pub change: Duration,
    pub objects: u64,
    /// Signatures and failures of `pkcs11-tool`, where there is one.
    pub tool: Option<(u64, u64)>,
    pub events: Vec<(Duration, String)>,
}

/// A zone with its one node.
#[derive(Clone, Default)]
pub struct Zone {
    pub name: String,
    pub node: u64,
    /// Whether the application stands in it.
    pub is_home: bool,
    pub role: &'static str,
    pub health: &'static str,
    pub applied: Option<u64>,
}

/// The scene as lines of at most 80 columns; `colours` for a terminal.
pub fn picture(scene: &Scene, colours: bool) -> Vec<String> {
    let paint = |code: &str, text: &str| match colours {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_string(),
    };
    let mut lines = vec![format!("  {:<6} {:<5} {:<8} {:<9} {:>8}", "ZONE", "NODE", "ROLE", "HEALTH", "APPLIED")];
    for zone in &scene.zones {
        let health = match zone.health {
            "well" => paint("32", "● well   "),
            "killed" => paint("1;31", "✗ KILLED "),
            other => paint("33", &format!("○ {other:<7}")),
        };
        let applied = zone.applied.map_or("-".to_string(), grouped);
        let home = if zone.is_home { "  ← the application's zone" } else { "" };
        lines.push(format!("  {:<6} {:<5} {:<8} {health} {applied:>8}{home}", zone.name, zone.node, zone.role));
    }
    let now = scene.curve.back().copied().unwrap_or_default();
    let failed = match scene.failed {
        0 => paint("1;32", "0"),
        failed => paint("1;31", &grouped(failed)),
    };
    lines.push(String::new());
    lines.push(format!("  calls a second   {:>9}   {}", grouped(now), curve(&scene.curve)));
    lines.push(format!("  calls            {:>9}   objects made {}", grouped(scene.calls), grouped(scene.objects)));
    lines.push(format!("  failed calls     {}{failed}", " ".repeat(9_usize.saturating_sub(grouped(scene.failed).len()))));
    lines.push(format!("  longest stall    {:>9}   of using the key; {} of a change", told(scene.key_use), told(scene.change)));
    if let Some((signatures, failed)) = scene.tool {
        let failed = paint(if failed == 0 { "1;32" } else { "1;31" }, &grouped(failed));
        lines.push(format!("  {NAME:<16} {:>9}   signatures, failed {failed}", grouped(signatures)));
    }
    lines.push(String::new());
    let older = scene.events.len().saturating_sub(EVENTS_SHOWN);
    for at in older..older + EVENTS_SHOWN {
        // Always as many lines: the picture does not jump.
        lines.push(scene.events.get(at).map_or(String::new(), |(at, event)| format!("  {:>5.1} s  {event}", at.as_secs_f32())));
    }
    lines.push(format!("  {:>5.1} s", scene.elapsed.as_secs_f32()));
    lines
}

fn curve(rates: &VecDeque<u64>) -> String {
    let most = rates.iter().copied().max().unwrap_or_default().max(1);
    rates.iter().map(|rate| BARS[((rate * 7).div_ceil(most) as usize).min(7)]).collect()
}

/// A number with a comma after each three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A stall, in the unit that fits it.
pub fn told(stall: Duration) -> String {
    match stall.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", seconds * 1000.0),
        seconds => format!("{:.1} ms", seconds * 1000.0),
    }
}

/// Standard output, where it is a terminal.
#[derive(Default)]
pub struct Screen {
    drawn: usize,
}

impl Screen {
    /// Draws over what was drawn last.
    pub fn draw(&mut self, lines: &[String]) {
        let mut text = match self.drawn {
            // No cursor, and no line that is wider than the terminal takes two.
            0 => "\x1b[?25l\x1b[?7l".to_string(),
            drawn => format!("\x1b[{drawn}A"),
        };
        for line in lines {
            text += line;
            text += "\x1b[K\n";
        }
        self.drawn = lines.len();
        // A terminal that is gone is no reason to end: somebody must clean up.
        let _ = std::io::stdout().write_all(text.as_bytes());
        let _ = std::io::stdout().flush();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.drawn > 0 {
            let _ = std::io::stdout().write_all(b"\x1b[?25h\x1b[?7h");
            let _ = std::io::stdout().flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_every_zone_and_always_as_many_lines() {
        let zone = |name: &str, health| Zone { name: name.to_string(), node: 1, health, role: "voter", ..Zone::default() };
        let mut scene = Scene {
            zones: vec![zone("a", "killed"), zone("b", "well")],
            calls: 1_234_567,
            tool: Some((97, 0)),
            ..Scene::default()
        };
        scene.curve = VecDeque::from([0, 50, 100]);
        let lines = picture(&scene, false);
        let text = lines.join("\n");
        for part in [
            "KILLED",
            "● well",
            "1,234,567",
            "▁▅█",
            "failed calls             0",
            "pkcs11-tool             97   signatures, failed 0",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        scene.events = (0..20).map(|at| (Duration::from_secs(at), format!("event {at}"))).collect();
        let later = picture(&scene, true);
        assert_eq!(later.len(), lines.len());
        assert!(later.join("\n").contains("event 19"));
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn numbers_and_stalls_are_told_as_people_read_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let stalls = [400, 23_400, 1_234_000].map(|micros| told(Duration::from_micros(micros)));
        assert_eq!(stalls, ["0.4 ms", "23 ms", "1.2 s"]);
    }
}
