// Tables of class vlmnb-filter get fields above them: words in any column, limits on numbers, only "yes", no old ones.
document.addEventListener("DOMContentLoaded", () => {
  const LIMITS = [ // name in the address, column, label, which side of the limit is kept
    ["gib", "GiB", "GiB at least", 1], ["gib-most", "GiB", "GiB at most", -1], ["gb", "GB/s", "GB/s at least", 1],
    ["w", "W", "W at most", -1], ["usd", "USD", "USD at most", -1],
    ["time", "Time per image", "Time per image, s at most", -1],
  ];
  const field = (bar, text, type, name) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = type;
    input.name = name ?? text.trim().split(/\W/)[0].toLowerCase();
    if (type === "number") Object.assign(input, { min: 0, step: "any" });
    label.append(...(type === "checkbox" ? [input, text] : [text, input]));
    bar.append(label);
    return input;
  };
  for (const table of document.querySelectorAll("table.vlmnb-filter")) {
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])].map((head) => head.textContent.trim());
    const rows = [...table.tBodies[0].rows];
    const bar = document.createElement("form");
    bar.className = "vlmnb-filters";
    bar.addEventListener("submit", (event) => event.preventDefault());
    const words = field(bar, "Contains ", "search");
    const limits = [];
    const tests = [(row) => words.value.toLowerCase().split(/\s+/).every((w) => row.textContent.toLowerCase().includes(w))];
    const of = (row, column) => parseFloat(row.cells[column].dataset.sort ?? row.cells[column].textContent);
    for (const [key, name, label, sign] of LIMITS) {
      const column = heads.indexOf(name);
      if (column < 0) continue;
      const input = field(bar, `${label} `, "number", key);
      limits.push([name, column, input]);
      // What is not known keeps no limit.
      tests.push((row) => input.value === "" || sign * (of(row, column) - parseFloat(input.value)) >= 0);
    }
    const runs = heads.indexOf("Runs it");
    if (runs >= 0) {
      const only = field(bar, " only those that run it", "checkbox");
      tests.push((row) => !only.checked || row.cells[runs].textContent.trim() === "yes");
    }
    const kind = heads.indexOf("Kind");
    const old = (row) => kind >= 0 && row.cells[kind].textContent.includes(", old");
    if (rows.some(old)) {
      const also = field(bar, " also old ones, which the current torch does not support", "checkbox");
      tests.push((row) => also.checked || !old(row));
    }
    const count = document.createElement("output");
    bar.append(count);
    const update = () => {
      rows.forEach((row) => { row.hidden = !tests.every((test) => test(row)); });
      const wanting = limits.map(([name, column, input]) => {
        const found = input.value === "" ? [] : rows.filter((row) => Number.isNaN(of(row, column)));
        const why = name === "Time per image" ? "with no time here" : `their ${name} is not known`;
        return found.length ? `; ${found.length} left out, ${why}` : "";
      });
      count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length}${wanting.join("")}`;
    };
    bar.addEventListener("input", update);
    (table.closest(".vlmnb-scroll") ?? table).before(bar);
    update();
  }
});
