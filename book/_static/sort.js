// Tables of class vlmnb-table with one header row sort on a click (or Enter) on a header. A script that makes tables
// later fires vlmnb-tables; one that changes their numbers fires vlmnb-values on the table, which is sorted again.
const PREFIXES = { n: 1e-9, "µ": 1e-6, m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
for (const ready of ["DOMContentLoaded", "vlmnb-tables"]) document.addEventListener(ready, () => {
  const value = (row, i) => {
    const cell = row.cells[i];
    const text = cell.dataset.sort ?? cell.querySelector("[data-sort]")?.dataset.sort ?? cell.textContent.trim();
    const found = text.match(/^(?:[≈≥<>~]\s*)?\$?(-?[\d.]+(?:e[-+]?\d+)?)(?:\s+([nµmkMGTP])(?=\s|$|B|F|J|s|W))?/);
    return found ? parseFloat(found[1]) * (PREFIXES[found[2]] ?? 1) : text;
  };
  const compare = (a, b, sign) => {
    const numbers = [a, b].map((x) => typeof x === "number");
    if (numbers[0] !== numbers[1]) return numbers[0] ? -1 : 1; // what has no number comes last
    return sign * (numbers[0] ? a - b : a.localeCompare(b));
  };
  for (const table of document.querySelectorAll("table.vlmnb-table")) {
    const heads = table.tHead?.rows.length === 1 ? [...table.tHead.rows[0].cells] : [];
    const body = table.tBodies[0];
    const spans = [...(body?.rows ?? [])].some((row) => row.cells.length !== heads.length);
    if (!body || body.rows.length < 3 || spans || heads.some((head) => head.hasAttribute("aria-sort"))) continue;
    heads.forEach((head, i) => {
      head.setAttribute("aria-sort", "none");
      head.tabIndex = 0;
      head.title ||= "Sort";
      const order = (down) => {
        const rows = [...body.rows].sort((a, b) => compare(value(a, i), value(b, i), down ? -1 : 1));
        body.append(...rows);
      };
      const sort = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        order(down);
      };
      table.addEventListener("vlmnb-values", () => {
        const now = head.getAttribute("aria-sort");
        if (now !== "none") order(now === "descending");
      });
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
    });
  }
});
