//! What the page is made of: three files that are part of the program.

/// A file: its path, its type, and what is in it.
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

const ASSETS: [Asset; 4] = [
    Asset { path: "/", kind: "text/html; charset=utf-8", text: include_str!("assets/index.html") },
    Asset {
        path: "/page.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("assets/page.css"),
    },
    Asset {
        path: "/page.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("assets/page.js"),
    },
    Asset {
        path: "/charts.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("assets/charts.js"),
    },
];

pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_no_other_host_and_no_inline_code() {
        for asset in &ASSETS {
            for host in ["http://", "https://", "//cdn", "@import", "eval("] {
                // The one namespace that is no address.
                let text = asset.text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(host), "{host} in {}", asset.path);
            }
        }
        let page = find("/").unwrap().text;
        for inline in ["<style", "style=", "onclick", "<script>"] {
            assert!(!page.contains(inline), "{inline}");
        }
        assert!(!ASSETS[2].text.contains("innerHTML") && !ASSETS[3].text.contains("innerHTML"));
    }
}
