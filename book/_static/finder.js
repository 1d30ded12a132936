// The page of GPUs: fills the columns behind the name in its table for the load and the price that were chosen.
document.addEventListener("DOMContentLoaded", () => {
  const data = window.vlmnbFinder;
  const form = document.getElementById("vlmnb-finder");
  const table = document.querySelector("table.vlmnb-filter");
  if (!data || !form || !table) return;
  const { model, quantization, batch, context, hire, use } = form.elements;
  const first = { hire: hire.value, use: use.value };
  const prices = window.vlmnbPrices;
  const given = (field) => !Number.isNaN(prices.of(field));
  const kept = window.vlmnbKept;
  const filters = document.querySelector("form.vlmnb-filters");
  const rows = [...table.tBodies[0].rows];
  const gigabytes = (bytes) => (bytes / 1e9).toFixed(Math.abs(bytes) < 1e7 ? 4 : 2);
  const options = (select, pairs) => select.replaceChildren(
    ...pairs.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
  options(model, Object.entries(data.models).map(([name, one]) => [name, one.title]));
  options(quantization, Object.entries(data.quantizations).map(([name, summary]) => [name, `${name}: ${summary}`]));
  options(batch, data.batches.map((size) => [size, size]));
  const contexts = () => {
    const { contexts: known, tokens } = data.models[model.value];
    const before = context.value;
    options(context, known.map((size) => [size, size ? `${size} tokens` : `prompt and answer, ${tokens} tokens`]));
    context.value = before && known.includes(Number(before)) ? before : 0;
  };
  const digits = (value) => Number(value.toPrecision(3)).toString();
  const seconds = (value) => (value < 0.9995 ? `${digits(1000 * value)} ms` : `${digits(value)} s`);
  // The lines of vlmnb/fit/bounds.py, which a test holds equal to them.
  const bound = ([prefillFlops, stepFlops, prefillBytes, stepBytes, steps], { bandwidth, rates }, kind) => {
    const least = (bytes, flops) => Math.max(bytes / bandwidth, rates[kind] ? flops / rates[kind] : 0);
    return least(prefillBytes, prefillFlops) + steps * least(stepBytes, stepFlops);
  };
  const show = (cell, text, title, sort) => {
    cell.textContent = text;
    cell.title = title;
    cell.classList.toggle("vlmnb-missing", text === "-");
    if (sort === undefined) delete cell.dataset.sort;
    else cell.dataset.sort = sort;
  };
  const onCpu = ([, setting, size, machine, seconds_, answer, key, peak, dataset], others, price, at) => [
    `Without a GPU, measured on ${machine}: ${seconds(seconds_)} per image of ${dataset} (${setting}, batch ${size}`,
    size === Number(batch.value) ? "" : others ? `, because ${batch.value} was not measured` : ", the only size measured",
    `, answers of ${answer}; the time of its own window`,
    `${peak ? `, ${gigabytes(peak)} GB of memory in use at the peak` : ""})`,
    price ? `, $${digits(1000 * seconds_ * price / 3600)} per 1,000 images ${at}. ` : ". ",
    Object.assign(document.createElement("a"), { href: `explore.html#record=${key}`, textContent: "See the record" }),
    ".",
  ];
  const update = () => {
    [hire, use].forEach(prices.mark);
    const [asked, share] = [hire, use].map(prices.of);
    const price = share === 0 ? 0 : 100 * asked / share; // of an hour at work; NaN where one of both is no number
    const unpriced = Number.isNaN(price) ? "a price is not valid" : "no price is given";
    const atPrice = `at $${asked} an hour${share < 100 ? `, ${share} % of the hours at work` : ""}`;
    const one = data.models[model.value];
    const at = [data.batches.indexOf(Number(batch.value)), one.contexts.indexOf(Number(context.value))];
    const needed = one.bytes[quantization.value][at[0]][at[1]];
    const never = one.obstacles[quantization.value];
    const kind = Object.keys(data.quantizations).indexOf(quantization.value);
    let running = 0;
    rows.forEach((row, i) => {
      const { usable, obstacles } = data.gpus[i];
      const free = usable - needed;
      const unsure = Math.abs(free) < data.overhead;
      const obstacle = never || obstacles[kind];
      const lacks = free >= 0 ? (unsure ? "just about" : "yes") : `${unsure ? "perhaps, " : ""}lacks ${gigabytes(-free)} GB`;
      row.cells[1].textContent = obstacle ? `no: ${obstacle.split(":")[0]}` : lacks;
      row.cells[1].title = obstacle || "memory that is free, less what is needed; computed, not measured";
      row.cells[1].className = "text";
      const why = obstacle || (free < 0 ? "nothing is free: it does not fit" : "");
      show(row.cells[2], why ? "-" : gigabytes(free), why || "computed, not measured");
      const own = data.measured.find(([name, stored, size, gpu]) => name === model.value
        && stored === quantization.value && size === Number(batch.value) && gpu === i);
      const least = bound(one.work[quantization.value][at[0]], data.gpus[i], kind) / Number(batch.value);
      const time = own ? own[4] : least;
      const [sign, mark] = own ? ["", ""] : ["≥ ", data.gpus[i].rates[kind] ? "" : " *"];
      const how = own ? `measured on ${own[7]}, answers of ${own[5]} tokens${own[5] === one.answer ? "" : `, bounds of ${one.answer}`}; record ${own[6]}` : `lower bound${mark && ", from the bandwidth alone"}; not measured`;
      const cost = 1000 * time * price / 3600;
      show(row.cells[3], why ? "-" : `${sign}${seconds(time)}${mark}`, why || how, why ? undefined : time);
      show(row.cells[4], why || !price ? "-" : `${sign}$${digits(cost)}${mark}`, why || (price ? `${how}; ${atPrice}` : unpriced),
        why || !price ? undefined : cost);
      running += !obstacle && free >= 0;
    });
    document.getElementById("vlmnb-finder-answer").textContent = never
      ? `Nothing runs ${one.title} as ${quantization.value}: ${never}.`
      : `${one.title} as ${quantization.value} takes ${gigabytes(needed)} GB; ${running} of ${rows.length} GPUs run it. Bounds are for an image of ${one.image} px, a prompt of ${one.tokens - one.answer} tokens with its image and an answer of ${one.answer} tokens, whatever the context.`;
    const own = data.cpus.filter(([name]) => name === model.value);
    const cpu = own.findLast(([, , size]) => size <= Number(batch.value)) ?? own[0]; // in ascending order
    document.getElementById("vlmnb-finder-cpu").replaceChildren(...(cpu ? onCpu(cpu, own.length > 1, price, atPrice) : []));
    const changed = [hire, use].filter((field) => field.value !== first[field.name] && given(field));
    const priced = changed.map((field) => `&${field.name}=${Number(field.value)}`).join("");
    const explore = Object.assign(document.createElement("a"), {
      href: `explore.html#model=${encodeURIComponent(model.value)}${priced}`,
      textContent: `Explore what was measured or reported of ${one.title}`,
    });
    document.getElementById("vlmnb-finder-links").replaceChildren(one.licence ? `Licence: ${one.licence}. ` : "", explore, ".");
    table.dispatchEvent(new Event("vlmnb-values"));
    filters?.dispatchEvent(new Event("input"));
    write();
  };
  const write = () => {
    const set = filters ? [...new FormData(filters)].filter(([, text]) => text) : [];
    const chosen = [...new FormData(form)].filter(([name]) => !(name in first) || given(form.elements[name]));
    history.replaceState(null, "", `#${new URLSearchParams([...chosen, ...set])}`);
  };
  const start = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const select of [model, quantization, batch, context]) {
      if (select === context) contexts();
      const known = [...select.options].some((option) => option.value === wanted.get(select.name));
      if (known) select.value = wanted.get(select.name);
    }
    for (const field of [hire, use]) {
      field.value = [wanted.get(field.name), kept.get(field.name)].find((text) => prices.valid(text, field.max)) ?? first[field.name];
    }
    for (const field of filters?.elements ?? []) {
      if (field.type === "checkbox") field.checked = wanted.has(field.name);
      else field.value = wanted.get(field.name) ?? "";
    }
    update();
  };
  form.addEventListener("input", (event) => {
    if (event.target === model) contexts();
    if ([hire, use].includes(event.target) && given(event.target)) kept.set(event.target.name, event.target.value);
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  filters?.addEventListener("input", write);
  addEventListener("hashchange", start);
  start();
});
