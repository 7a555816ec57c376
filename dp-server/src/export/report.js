const filter = document.getElementById("filter");
if (filter) {
  const rows = [...document.getElementById("results").rows];
  const matching = document.getElementById("matching");
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    let count = 0;
    for (const row of rows) {
      const shown = row.textContent.toLowerCase().includes(wanted);
      row.hidden = !shown;
      count += shown;
    }
    matching.textContent = wanted ? `${count} of ${rows.length}` : "";
  });
}
