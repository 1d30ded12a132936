// Tables for fingers and keys: a field's tooltip opens on a tap and on focus, and a row is one stop of the Tab key
// (or one for each record it links to) within which the arrow keys move.
document.addEventListener("DOMContentLoaded", () => {
  const FIELDS = "table.vlmnb-table :is(td, th[scope=row])[title]";
  let bubble = null;
  let pointer = "mouse";
  const close = () => {
    bubble?.remove();
    bubble = null;
  };
  const open = (field, link) => {
    close();
    bubble = document.createElement("div");
    bubble.className = "vlmnb-tip";
    bubble.role = "tooltip";
    bubble.append(field.title);
    if (link) bubble.append(Object.assign(document.createElement("a"), { href: link.href, textContent: "Open the record" }));
    document.body.append(bubble);
    const at = field.getBoundingClientRect();
    const left = Math.min(Math.max(at.left, 8), document.documentElement.clientWidth - bubble.offsetWidth - 8);
    bubble.style.left = `${left + scrollX}px`;
    bubble.style.top = `${at.bottom + scrollY + 4}px`;
  };
  document.addEventListener("pointerdown", (event) => { pointer = event.pointerType; }, true);
  document.addEventListener("click", (event) => {
    if (pointer === "mouse" || bubble?.contains(event.target)) return;
    const field = event.target.closest(FIELDS);
    if (!field) {
      close();
      return;
    }
    event.preventDefault(); // the bubble has the link
    open(field, field.querySelector("a[href]"));
  });
  document.addEventListener("focusin", (event) => {
    if (!event.target.matches(":focus-visible")) return;
    const field = event.target.closest(FIELDS);
    if (field) open(field);
    else close();
  });
  const stops = (row) => [...row.cells].map((cell) => cell.querySelector("a[href]") ?? (cell.title ? cell : null)).filter(Boolean);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const row = event.target.closest("table.vlmnb-table tbody tr");
    if (!step || !row) return;
    const found = stops(row);
    const next = found[found.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    next.focus({ focusVisible: true });
  });
  for (const row of document.querySelectorAll("table.vlmnb-table tbody tr")) {
    const seen = new Set();
    const found = stops(row);
    for (const stop of found) {
      if (stop.href ? seen.has(stop.href) : seen.size || stop !== found[0]) stop.tabIndex = -1;
      else stop.tabIndex = 0;
      seen.add(stop.href ?? "");
    }
  }
});
// What scrolls sideways can be scrolled with the keyboard.
addEventListener("load", () => {
  const SCROLLING = ".vlmnb-scroll, .vlmnb-math, .vlmnb-wide, .pst-scrollable-table-container, div.cell_output .text_html";
  for (const box of document.querySelectorAll(SCROLLING)) {
    if (box.scrollWidth <= box.clientWidth || box.querySelector("[tabindex='0'], a[href]:not([tabindex])")) continue;
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Scrolls sideways");
  }
});
