// Every table with headings can be saved as CSV, without the rows that a filter hides; an interval has two columns of
// its own beside its number. What has data-csv is saved as that. A script that makes tables later fires vlmnb-tables.
for (const ready of ["DOMContentLoaded", "vlmnb-tables"]) document.addEventListener(ready, () => {
  const text = (cell) => {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("[data-csv]").forEach((part) => { part.textContent = part.dataset.csv; });
    copy.querySelectorAll(".interval").forEach((part) => part.remove());
    return copy.textContent.replace(/\s+/g, " ").trim();
  };
  const ends = (cell) => cell?.querySelector(".interval")?.dataset.csv?.split(" ")
    ?? cell?.querySelector(".interval")?.textContent.match(/[^[\],\s][^[\],]*/g) ?? ["", ""];
  const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const csv = (heads, rows) => {
    const spans = heads.map((_, i) => rows.some((row) => row.cells[i]?.querySelector(".interval")));
    const wide = (cells, own, more) => [...cells].flatMap((cell, i) => [own(cell), ...(spans[i] ? more(cell) : [])]);
    const lines = [wide(heads, text, (head) => [`${text(head)}, low`, `${text(head)}, high`])];
    lines.push(...rows.map((row) => wide(row.cells, text, ends)));
    return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
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
