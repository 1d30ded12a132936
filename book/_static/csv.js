// Every table with headings can be saved as CSV, without the rows that a filter hides. What has data-csv is saved as
// that. An interval has two columns of its own beside its number, and so have marks. Numbers of one unit are saved
// without it and without prefixes; the heading names it. A script that makes tables later fires vlmnb-tables.
for (const ready of ["DOMContentLoaded", "vlmnb-tables"]) document.addEventListener(ready, () => {
  const PREFIXES = { "": 1, n: 1e-9, "µ": 1e-6, m: 1e-3, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
  const text = (cell) => {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("[data-csv]").forEach((part) => { part.textContent = part.dataset.csv; });
    copy.querySelectorAll(".interval").forEach((part) => part.remove());
    return copy.textContent.replace(/\s+/g, " ").trim();
  };
  const ends = (cell) => cell?.querySelector(".interval")?.dataset.csv?.split(" ")
    ?? cell?.querySelector(".interval")?.textContent.match(/[^[\],\s][^[\],]*/g) ?? ["", ""];
  // A number such as ≥ 2.14 s *, $0.5, 14.1 GB, 10.98 T or 0.5 ⚠ without its unit and marks; null if it is none.
  const NUMBER = /^([≈≥≤~]?)\s*(\$?)([-+]?[\d.]+(?:e[-+]?\d+)?)(?:\s([nµmkMGTP]?)(s|J|B|FLOP|Wh|W|Hz|g|px|%|times)?)?((?:\s?[*†∅⚠])*)$/;
  const parse = (given) => {
    const [, before, dollar, digits, prefix = "", unit = "", after] = given.match(NUMBER) ?? [];
    if (digits === undefined) return null;
    const plain = prefix ? String(Number((Number(digits) * PREFIXES[prefix]).toPrecision(12))) : digits;
    return { plain, unit: dollar || unit, marks: [before, after.trim()].filter(Boolean).join(" "), zero: !Number(digits) };
  };
  const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const column = (head, cells) => {
    const [title, own, spans] = [text(head), cells.map(text), cells.map(ends)];
    const found = own.map(parse);
    const units = new Set(found.filter((one) => one && (one.unit || !one.zero)).map((one) => one.unit));
    const alike = units.size < 2 && own.every((each, i) => found[i] || !/\d/.test(each));
    const [unit] = alike ? units : [""];
    const named = unit && !title.endsWith(`, ${unit}`) ? `${title}, ${unit}` : title;
    const plain = (given, of = parse(given)) => (alike && of ? of.plain : given);
    const made = [[named, ...own.map((each) => plain(each))]];
    if (cells.some((cell) => cell.querySelector(".interval"))) {
      [", low", ", high"].forEach((end, i) => made.push([`${named}${end}`, ...spans.map((each) => plain((each[i] ?? "").trim()))]));
    }
    if (alike && found.some((one) => one?.marks)) made.push([`${title}, mark`, ...found.map((one) => one?.marks ?? "")]);
    return made;
  };
  const csv = (heads, rows) => {
    const columns = heads.flatMap((head, i) => column(head, rows.map((row) => row.cells[i])));
    const lines = ["", ...rows].map((_, line) => line).map((line) => columns.map((each) => quoted(each[line])).join(","));
    return lines.join("\r\n") + "\r\n";
  };
  document.querySelectorAll("table.vlmnb-table").forEach((table, number) => {
    const heads = table.tHead?.rows.length === 1 ? [...table.tHead.rows[0].cells] : [];
    const rows = [...(table.tBodies[0]?.rows ?? [])];
    const box = table.closest(".vlmnb-scroll") ?? table;
    if (!rows.length || rows.some((row) => row.cells.length !== heads.length)) return;
    if (box.nextElementSibling?.matches(".vlmnb-csv")) return;
    const link = Object.assign(document.createElement("a"), { className: "vlmnb-csv", textContent: "CSV" });
    const page = location.pathname.split("/").pop().replace(/\.html$/, "") || "index";
    link.download = `${page}-table-${number + 1}.csv`;
    link.href = "#";
    link.setAttribute("aria-label", `Save table ${number + 1} of this page as CSV`);
    link.addEventListener("click", () => {
      const now = [...table.tBodies[0].rows].filter((row) => !row.hidden); // as sorted
      link.href = `data:text/csv;charset=utf-8,${encodeURIComponent(`\uFEFF${csv(heads, now)}`)}`;
    });
    box.after(link);
  });
});
