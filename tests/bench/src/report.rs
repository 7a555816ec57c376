//! The table and the plot.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::item::{ITEMS, Item, Who};
use crate::measure::Figures;

/// Who is compared with the limit.
const OTHERS: &[Who] = Who::ALL.split_at(1).1;

/// In light and dark: a picture in a page is told which the reader wants. The colours can be told apart
/// by those who see fewer of them, too.
const STYLE: &str = "
text{fill:#1f2328}.faint{fill:#59636e}.strong{font-weight:bold}
.grid{stroke:#d1d9e0}.limit{stroke:#59636e}
circle{stroke:#fff;stroke-width:1}
.tokio{fill:#59636e}.tarpc{fill:#d98200}.tonic{fill:#0f9d77}.remoc{fill:#b0569b}.dp{fill:#0a62c9}
@media(prefers-color-scheme:dark){
text{fill:#f0f6fc}.faint{fill:#9198a1}.grid{stroke:#3d444d}.limit{stroke:#9198a1}
circle{stroke:#0d1117}
.tokio{fill:#9198a1}.tarpc{fill:#f0a030}.tonic{fill:#2dbd94}.remoc{fill:#d98cc7}.dp{fill:#58a6ff}
}
";

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
            "{} Congestion control {}; medians of {}.\n\n",
            machine(),
            self.congestion,
            match self.rounds {
                1 => "one round".to_owned(),
                rounds => format!("{rounds} rounds"),
            }
        );
        text += &self.table("time", |figures| figures.time);
        text += "\n";
        text += &self.table("processor time of both sides", Figures::processor);
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
        let broadcast = self.median("broadcast 512", Who::Ours, |figures| figures.time);
        let own = |name| Some(self.median(name, Who::Ours, |figures| figures.time)? / broadcast?);
        if let (Some(barrier), Some(tls)) = (own("barrier 512"), own("broadcast 512, TLS")) {
            let (barrier, tls) = (shown(barrier), shown(tls));
            let _ =
                writeln!(text, "\nOf dp's own broadcast 512: its barrier {barrier}, TLS {tls}.");
        }
        text
    }

    /// The limit's figures, and everybody else's as multiples of them.
    fn table(&self, what: &str, of: impl Fn(&Figures) -> f64 + Copy) -> String {
        let mut text = format!("| {what} | limit |");
        for &who in OTHERS {
            let _ = write!(text, " {} |", who.name());
        }
        text += "\n| --- | ---: |";
        text += &" ---: |".repeat(OTHERS.len());
        for item in ITEMS.iter().filter(|item| self.has(item)) {
            let limit = match self.median(item.name, Who::Limit, of) {
                Some(time) => duration(time),
                None => format!("(of {})", item.against),
            };
            let _ = write!(text, "\n| {} | {limit} |", item.name);
            for &who in OTHERS {
                let _ = match self.ratio(item, who, of) {
                    Some(ratio) if who == Who::Ours => write!(text, " **{}** |", shown(ratio)),
                    Some(ratio) => write!(text, " {} |", shown(ratio)),
                    None => write!(text, " |"),
                };
            }
        }
        text + "\n"
    }

    fn has(&self, item: &Item) -> bool {
        Who::ALL.iter().any(|who| self.figures.contains_key(&(item.name, *who)))
    }

    /// A row for each item, and in it a dot for each implementation at the logarithm of its ratio.
    pub fn plot(&self) -> String {
        let (left, right, top, row_height) = (150.0, 690.0, 64.0, 24.0);
        let rows: Vec<&Item> = ITEMS.iter().filter(|item| self.has(item)).collect();
        let bottom = top + row_height * rows.len() as f64;
        let (least, most) = (0.01_f64.log10(), 400_f64.log10());
        let x = |ratio: f64| {
            left + (right - left) * (ratio.log10().clamp(least, most) - least) / (most - least)
        };
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 760 {:.0}' role='img' \
             font-family='system-ui, sans-serif' font-size='12'>\n<title>Time, as a multiple of \
             what the limit takes</title>\n<style>{STYLE}</style>\n",
            bottom + 8.0
        );
        let mut at = left;
        for &who in OTHERS {
            let name = who.name();
            let _ = write!(svg, "<circle class='{name}' cx='{at}' cy='12' r='5'/>");
            let _ = writeln!(svg, "<text x='{}' y='16'>{name}</text>", at + 10.0);
            at += 72.0;
        }
        let _ = writeln!(
            svg,
            "<text class='faint' x='{left}' y='38'>time, as a multiple of the limit's: farther left \
             is faster</text><text class='strong' x='752' y='56' text-anchor='end'>dp</text>"
        );
        for ratio in [0.01, 0.1, 1.0, 10.0, 100.0] {
            let (at, class) = (x(ratio), if ratio == 1.0 { "limit" } else { "grid" });
            let label = if ratio == 1.0 { "limit".to_owned() } else { format!("{ratio}") };
            let _ = writeln!(
                svg,
                "<line class='{class}' x1='{at:.1}' x2='{at:.1}' y1='60' y2='{bottom}'/>\
                 <text class='faint' x='{at:.1}' y='56' text-anchor='middle'>{label}</text>"
            );
        }
        for (row, item) in rows.iter().enumerate() {
            let middle = top + row_height * (row as f64 + 0.5);
            let name = item.name;
            let _ = writeln!(svg, "<text x='0' y='{}'>{name}</text>", middle + 4.0);
            for &who in OTHERS {
                let Some(ratio) = self.ratio(item, who, |figures| figures.time) else { continue };
                let (name, at) = (who.name(), x(ratio));
                let radius = if who == Who::Ours { 6 } else { 5 };
                let _ = writeln!(
                    svg,
                    "<circle class='{name}' cx='{at:.1}' cy='{middle}' r='{radius}'>\
                     <title>{name}: {}</title></circle>",
                    shown(ratio)
                );
                if who == Who::Ours {
                    let _ = writeln!(
                        svg,
                        "<text class='strong' x='752' y='{}' text-anchor='end'>{}</text>",
                        middle + 4.0,
                        shown(ratio)
                    );
                }
            }
        }
        svg + "</svg>\n"
    }
}

/// Puts `text` between the two comments that mark its place in the file.
pub fn replace(file: &Path, name: &str, text: &str) -> Result<()> {
    let whole = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let marks = [format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->")];
    let [start, end] = marks.each_ref().map(|mark| whole.find(mark.as_str()));
    let missing = || format!("{} has no place for {name}", file.display());
    let start = start.with_context(missing)? + marks[0].len();
    let end = end.filter(|end| *end >= start).with_context(missing)?;
    fs::write(file, format!("{}{text}{}", &whole[..start], &whole[end..]))?;
    Ok(())
}

fn shown(ratio: f64) -> String {
    match ratio {
        ratio if ratio < 0.995 => format!("{ratio:.3}"),
        ratio if ratio < 9.95 => format!("{ratio:.2}"),
        ratio if ratio < 99.5 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.0}"),
    }
}

pub fn duration(ns: f64) -> String {
    match ns / 1e3 {
        us if us < 10.0 => format!("{us:.2} µs"),
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
