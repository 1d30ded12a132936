// Tables whose headings name groups get a box above them for each group; at first only the first one is ticked.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.vlmnb-table:has(th[data-group])")) {
    const heads = [...table.tHead.rows[0].cells];
    const groups = [...new Set(heads.map((head) => head.dataset.group).filter(Boolean))];
    const bar = document.createElement("form");
    bar.className = "vlmnb-filters vlmnb-columns";
    const boxes = new Map(groups.map((name, number) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = number === 0;
      label.append(box, ` ${name}`);
      bar.append(label);
      return [name, box];
    }));
    const update = () => {
      heads.forEach((head, column) => {
        const hidden = boxes.has(head.dataset.group) && !boxes.get(head.dataset.group).checked;
        for (const row of table.rows) row.cells[column].hidden = hidden;
      });
    };
    bar.addEventListener("input", update);
    (table.closest(".vlmnb-scroll") ?? table).before(bar);
    update();
  }
});
