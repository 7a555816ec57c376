//! The table and the plot.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::item::{ITEMS, Item, Who};
use crate::measure::Figures;

/// All figures, by item and whose they are.
pub struct Results {
    rounds: usize,
    congestion: String,
    figures: BTreeMap<(&'static str, Who), Vec<Figures>>,
}

impl Results {
    pub fn new(rounds: usize, congestion: String) -> Self {
        Self { rounds, congestion, figures: BTreeMap::new() }
    }

    pub fn add(&mut self, item: &Item, who: Who, figures: Figures) {
        let name = Item::named(item.name).map_or("", |item| item.name);
        self.figures.entry((name, who)).or_default().push(figures);
    }

    fn median(&self, item: &str, who: Who, of: impl Fn(&Figures) -> f64) -> Option<f64> {
        let all = ITEMS.iter().find(|known| known.name == item)?;
        let mut values: Vec<f64> = self.figures.get(&(all.name, who))?.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// How many times as much as the limit takes. Items of another number of workers are compared by
    /// what each worker's call takes.
    fn ratio(&self, item: &Item, who: Who, of: impl Fn(&Figures) -> f64 + Copy) -> Option<f64> {
        let limit = ITEMS.iter().find(|known| known.name == item.against)?;
        let ours = self.median(item.name, who, of)? / item.scale();
        Some(ours / (self.median(limit.name, Who::Limit, of)? / limit.scale()))
    }

    pub fn markdown(&self) -> String {
        let mut text = format!(
            "{}\nMedians of {} rounds; TCP over the loopback device, congestion control {}.\n\n",
            machine(),
            self.rounds,
            self.congestion
        );
        text += "| | limit | tokio | tarpc | dp | processor time: tokio | tarpc | dp |\n";
        text += "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
        for item in ITEMS {
            if !Who::ALL.iter().any(|who| self.figures.contains_key(&(item.name, *who))) {
                continue;
            }
            let limit = match self.median(item.name, Who::Limit, |figures| figures.time) {
                Some(time) => micros(time),
                None => format!("(of {})", item.against),
            };
            let _ = write!(text, "| {} | {limit} |", item.name);
            let (time, processor) = (|figures: &Figures| figures.time, Figures::processor);
            for who in [Who::Tokio, Who::Tarpc, Who::Ours] {
                let _ = write!(text, " {} |", shown(self.ratio(item, who, time)));
            }
            for who in [Who::Tokio, Who::Tarpc, Who::Ours] {
                let _ = write!(text, " {} |", shown(self.ratio(item, who, processor)));
            }
            text += "\n";
        }
        let memory = |who| self.median("broadcast 2048", who, |figures| figures.memory);
        if memory(Who::Ours).is_some() {
            text += "\nMaster's memory for an idle worker, of 2,048:";
            for who in Who::ALL {
                if let Some(bytes) = memory(who) {
                    let _ = write!(text, " {} {:.1} KiB;", who.name(), bytes / 1024.0);
                }
            }
            text.pop();
            text += ".\n";
        }
        text
    }

    /// A bar for each item and implementation, as long as the logarithm of the ratio.
    pub fn plot(&self) -> String {
        const COLOURS: [(Who, &str); 3] =
            [(Who::Tokio, "#8aa"), (Who::Tarpc, "#c96"), (Who::Ours, "#36c")];
        const LEFT: f64 = 170.0;
        const WIDTH: f64 = 520.0;
        // From a hundredth to a hundred times the limit.
        let x = |ratio: f64| LEFT + WIDTH * (ratio.clamp(0.01, 100.0).log10() + 2.0) / 4.0;
        let (mut bars, mut y) = (String::new(), 40.0);
        for item in ITEMS {
            let start = y;
            for (who, colour) in COLOURS {
                let Some(ratio) = self.ratio(item, who, |figures| figures.time) else { continue };
                let (from, to) = (x(ratio.min(1.0)), x(ratio.max(1.0)));
                let _ = writeln!(
                    bars,
                    "<rect x='{from:.1}' y='{y}' width='{:.1}' height='9' fill='{colour}'/>\
                     <text x='{:.1}' y='{:.1}'>{}</text>",
                    (to - from).max(1.0),
                    x(ratio.max(1.0)) + 4.0,
                    y + 8.0,
                    shown(Some(ratio))
                );
                y += 11.0;
            }
            if y > start {
                let middle = (start + y) / 2.0 + 2.0;
                let _ = writeln!(bars, "<text x='8' y='{middle}'>{}</text>", item.name);
                y += 7.0;
            }
        }
        let mut axis = String::new();
        for ratio in [0.01, 0.1, 1.0, 10.0, 100.0] {
            let at = x(ratio);
            let _ = writeln!(
                axis,
                "<line x1='{at}' x2='{at}' y1='32' y2='{y}' stroke='#ccc'/>\
                 <text x='{at}' y='28' text-anchor='middle'>{ratio}</text>"
            );
        }
        let mut legend = String::new();
        for (n, (who, colour)) in COLOURS.iter().enumerate() {
            let at = 10 + 60 * n;
            let _ = write!(legend, "<rect x='{at}' y='6' width='9' height='9' fill='{colour}'/>");
            let _ = writeln!(legend, "<text x='{}' y='14'>{}</text>", at + 12, who.name());
        }
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='740' height='{}' \
             font-family='sans-serif' font-size='10'>\n<rect width='100%' height='100%' \
             fill='white'/>\n{legend}<text x='{LEFT}' y='14'>time, as a multiple of the limit's \
             (logarithmic)</text>\n{axis}{bars}</svg>\n",
            y + 10.0
        )
    }
}

fn shown(ratio: Option<f64>) -> String {
    match ratio {
        None => String::new(),
        Some(ratio) if ratio < 0.995 => format!("{ratio:.3}"),
        Some(ratio) if ratio < 9.95 => format!("{ratio:.2}"),
        Some(ratio) => format!("{ratio:.1}"),
    }
}

fn micros(ns: f64) -> String {
    match ns / 1e3 {
        us if us < 100.0 => format!("{us:.1} µs"),
        us if us < 10_000.0 => format!("{us:.0} µs"),
        us => format!("{:.1} ms", us / 1e3),
    }
}

/// What it was measured on.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    // A kernel's own name may tell of the machine's owner: the version is enough.
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    format!("{model}, {count} processors, Linux {kernel}.")
}
