// One switch for the page: the units of latency and energy in all its tables, or their cost at the reader's own
// prices. Both are remembered.
document.addEventListener("DOMContentLoaded", () => {
  const fields = [...document.querySelectorAll("[data-units], [data-amount]")];
  const title = document.querySelector("article h1");
  if (!fields.length || !title) return;
  const kept = window.vlmnbKept;
  const ruled = window.vlmnbPrices;
  const plain = (value) =>
    value.toLocaleString("en-US", { minimumSignificantDigits: 3, maximumSignificantDigits: 3, useGrouping: false });
  const parts = fields.map((field) => {
    const span = field.querySelector(".interval");
    const number = field.querySelector("a") ?? [...field.childNodes].find((node) => node.nodeType === 3);
    const own = [number?.textContent ?? "", span?.textContent ?? ""];
    const others = JSON.parse(field.dataset.units ?? "[]").map((x) => (Array.isArray(x) ? x : [x, ""]));
    return { number, span, all: [own, ...others], amount: field.dataset.amount, head: field.tagName === "TH" };
  });
  const units = parts.some(({ all }) => all.length > 1)
    ? ["s per batch, J per sample", "ms per image, Wh per 1,000 images", "images per s, Wh per 1,000 images"]
    : ["ms per image, Wh per 1,000 images"];
  const prices = JSON.parse(document.getElementById("vlmnb-prices")?.textContent ?? "null");
  const label = document.createElement("label");
  label.className = "vlmnb-units";
  label.textContent = "Units: ";
  const choice = label.appendChild(document.createElement("select"));
  for (const text of units) choice.add(new Option(text, text));
  const asked = document.createElement("div");
  asked.className = "vlmnb-prices";
  const inputs = {};
  if (prices && parts.some(({ amount }) => amount)) {
    choice.add(new Option("$ per 1,000 images, at your prices", "$"));
    const note = document.createElement("p");
    note.append("Machine: hours for 1,000 images × $ per hour / share at work. ");
    note.append("Electricity: kWh for 1,000 images × $ per kWh. ");
    note.append("The prices are examples until you set them");
    for (const [name, { title: words, value, source, address, top }] of Object.entries(prices)) {
      const line = asked.appendChild(document.createElement("label"));
      line.textContent = `${words} `;
      inputs[name] = Object.assign(document.createElement("input"), { type: "number", min: 0, step: "any" });
      if (top) inputs[name].max = top;
      inputs[name].value = ruled.valid(kept.get(name), top) ? kept.get(name) : value;
      line.append(inputs[name]);
      inputs[name].addEventListener("input", () => {
        ruled.mark(inputs[name]);
        if (ruled.valid(inputs[name].value, top)) kept.set(name, inputs[name].value);
        show();
      });
      const from = address ? Object.assign(document.createElement("a"), { href: address, textContent: source }) : source;
      note.append(`${Object.keys(inputs).length > 1 ? ";" : ":"} ${value}, `, from);
    }
    note.append(".");
    asked.append(note);
  }
  const set = (name) => ruled.of(inputs[name]);
  const priced = (text, amount) => {
    const [name, ...values] = amount.split(" ");
    const price = set(name) / (name === "hire" ? set("use") / 100 : 1);
    if (!Number.isFinite(price)) return ["-", ""];
    const [cost, ...ends] = values.map((value) => plain(Number(value) * price));
    return [text.replace(/[\d.]+(\s[nµm]?s(?=\*|$))?/, cost), ends.length ? `[${ends.join(", ")}]` : ""];
  };
  const show = () => {
    const dollars = choice.value === "$";
    asked.hidden = !dollars;
    for (const { number, span, all, amount, head } of parts) {
      let [text, interval] = all[dollars ? 0 : Math.min(choice.selectedIndex, all.length - 1)];
      if (dollars && amount) [text, interval] = head ? [amount, ""] : priced(text, amount);
      if (number) number.textContent = span && text && !number.closest?.("a") ? `${text} ` : text;
      if (span) span.textContent = interval;
    }
    new Set(fields.map((field) => field.closest("table"))).forEach((table) => table?.dispatchEvent(new Event("vlmnb-values")));
  };
  choice.addEventListener("change", () => {
    kept.set("units", choice.value);
    show();
  });
  const first = fields.find((field) => !field.closest("details"))?.closest(".vlmnb-scroll");
  if (first) first.before(label, asked);
  else title.after(label, asked);
  choice.value = kept.get("units") ?? units[0];
  if (!choice.value) choice.selectedIndex = 0;
  show();
});
