// One switch for the page: the units of latency and energy in all its tables. It is remembered.
document.addEventListener("DOMContentLoaded", () => {
  const fields = [...document.querySelectorAll("[data-units]")];
  const title = document.querySelector("article h1");
  if (!fields.length || !title) return;
  const kept = { get: () => null, set: () => {} };
  try {
    kept.get = () => localStorage.getItem("vlmnb-units");
    kept.set = (value) => localStorage.setItem("vlmnb-units", value);
    kept.get();
  } catch {
    kept.get = () => null; // no storage for pages opened as files
  }
  const parts = fields.map((field) => {
    const span = field.querySelector(".interval");
    const number = field.querySelector("a") ?? [...field.childNodes].find((node) => node.nodeType === 3);
    const own = [number?.textContent ?? "", span?.textContent ?? ""];
    return { number, span, all: [own, ...JSON.parse(field.dataset.units).map((x) => (Array.isArray(x) ? x : [x, ""]))] };
  });
  const label = document.createElement("label");
  label.className = "vlmnb-units";
  label.textContent = "Units: ";
  const choice = label.appendChild(document.createElement("select"));
  for (const text of ["s per batch, J per sample", "ms per image, Wh per 1,000 images", "images per s, Wh per 1,000 images"])
    choice.add(new Option(text));
  const show = () => {
    for (const { number, span, all } of parts) {
      const [text, interval] = all[choice.selectedIndex];
      if (number) number.textContent = span && text && !number.closest?.("a") ? `${text} ` : text;
      if (span) span.textContent = interval;
    }
  };
  choice.addEventListener("change", () => {
    try {
      kept.set(String(choice.selectedIndex));
    } catch {
      // shown all the same
    }
    show();
  });
  const first = fields.find((field) => !field.closest("details"))?.closest(".vlmnb-scroll");
  if (first) first.before(label);
  else title.after(label);
  choice.selectedIndex = Math.min(Number(kept.get()) || 0, 2);
  show();
});
